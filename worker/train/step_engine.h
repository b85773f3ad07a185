// What computes the steps of a training: the gradient of a global batch in the fixed tree, its norm, AdamW on the
// segment of the parameters that a rank owns. The trainer decides which steps there are and what follows from their
// numbers; an engine owns the memory that they change. CpuStep computes on the threads of a rank, DeviceStep
// (worker/gpu) on a GPU. One object per rank, used on one thread; all ranks make the same calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/status.h"
#include "worker/checkpoint/training_state.h"

namespace freshet::worker {

// Which examples a step takes, and how far it goes.
struct StepPlan {
  uint64_t step = 0;    // of the training, from 1
  uint64_t pass = 0;    // over the examples, from 0
  uint64_t cursor = 0;  // where in that pass's permutation the batch begins
  size_t rows = 0;      // of the batch; all but the last of a pass are full
  double learning_rate = 0;
  double learning_rate_factor = 1;  // of the schedule
  double loss_limit = 0;            // 0: none
};

struct StepNumbers {
  double loss = 0;           // mean over the batch, before the update
  double gradient_norm = 0;  // before clipping
  // False: a number that is not finite, or a loss above the limit, left everything as it was.
  bool is_applied = false;
};

// AdamW's two moments of all parameters, and the numbers that row-wise AdaGrad keeps for the rows of tables.
struct OptimizerState {
  std::vector<float> m, v, row_sums;
};

class StepEngine {
 public:
  virtual ~StepEngine() = default;

  virtual size_t examples() const = 0;
  // All, those of tables among them.
  virtual size_t parameters() const = 0;

  // Whether a step may begin before the one in front of it has ended. Each begun step is ended, in the same order.
  virtual bool is_late() const { return false; }
  // Begins to bring near what the next step needs, beside those that are under way. Nobody has to call it.
  virtual Status prepare(const StepPlan& plan) {
    (void)plan;
    return Status::ok();
  }
  // `before_update` is called, and returns, before what a snapshot without `wait` shows is changed.
  virtual Status begin(const StepPlan& plan, const std::function<void()>& before_update) = 0;
  virtual Result<StepNumbers> end() = 0;

  // All below: while no step is under way.

  // After the newest step.
  virtual Result<TrainingSnapshot> snapshot() = 0;
  // Lets `fill` put the memory of another step there. False: it has not, and training is where it was.
  virtual Status overwrite(const std::function<Result<bool>(const TrainingMemory&)>& fill) = 0;
  // Moments of zero, and these parameters.
  virtual Status start_over(std::span<const float> parameters) = 0;

  // On rank 0; collective.
  virtual Result<OptimizerState> gather_optimizer_state() = 0;
  // The last call: all parameters, on every rank, but those of tables on rank 0 only; collective.
  virtual Result<std::vector<float>> take_parameters() = 0;
};

}  // namespace freshet::worker
