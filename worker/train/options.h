// The numbers of a training, taken from a recipe's step with its defaults filled in and its bounds checked.
#pragma once

#include <cstdint>
#include <optional>

#include "base/status.h"
#include "kernels/rowwise_adagrad.h"
#include "worker/train/guards.h"
#include "worker/train/schedule.h"

namespace freshet::v1 {
class TrainStep;
}

namespace freshet::worker {

struct TrainOptions {
  uint64_t seed = 0;
  uint32_t epochs = 1;
  size_t micro_batch_rows = 512;
  size_t micro_batches = 8;
  double learning_rate = 1e-3;
  double weight_decay = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double clip_norm = 0;                                   // 0: no clipping
  std::optional<kernels::RowwiseAdagradStep> embeddings;  // none: tables of embeddings are trained like all else
  Schedule schedule;
  GuardOptions guards;
  uint64_t checkpoint_every_steps = 0;    // 0: not by steps
  uint64_t checkpoint_every_seconds = 0;  // 0: not by time
  size_t checkpoints_kept = 2;
  size_t checkpoints_in_memory = 0;

  // 0 in the step stands for the default. invalid_argument names the field.
  static Result<TrainOptions> of(const v1::TrainStep& step, uint64_t seed);

  bool has_checkpoints() const { return checkpoint_every_steps > 0 || checkpoint_every_seconds > 0; }
  size_t batch_rows() const { return micro_batch_rows * micro_batches; }
  // Micro-batches of a batch of so many rows, which fill them from the front; those left empty are no leaves of its
  // tree.
  size_t micro_batches_of(size_t rows) const { return (rows + micro_batch_rows - 1) / micro_batch_rows; }
};

}  // namespace freshet::worker
