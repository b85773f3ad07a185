// How the learning rate moves over a training: a pure function of the step, so that a training that was interrupted
// goes on where it was. No libm, whose bits differ among machines. Any thread.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace freshet::v1 {
class Schedule;
}

namespace freshet::worker {

struct Schedule {
  enum class Kind { kConstant, kCosine, kWarmupStableDecay };

  Kind kind = Kind::kConstant;
  uint64_t warmup_steps = 0;
  double final_ratio = 0;
  double decay_fraction = 0;

  // With the recipe's defaults. invalid_argument names the field that is out of its bounds.
  static Result<Schedule> of(const v1::Schedule& wanted);

  // What the learning rate of `step` (from 1) of `steps` is multiplied by. Over the warm-up: step / warmup_steps. From
  // there to the last step, with p the part of the way that is behind:
  //   cosine: final_ratio + (1 - final_ratio) (1 + cos(pi p)) / 2  (Loshchilov and Hutter, "SGDR", ICLR 2017);
  //   warm-up, stable, decay: 1, then in a straight line to final_ratio over the last decay_fraction of all steps (Hu
  //   et al., "MiniCPM", 2024).
  double factor(uint64_t step, uint64_t steps) const;
};

}  // namespace freshet::worker
