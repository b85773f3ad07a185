// The training loop: passes over an engine's examples in global batches, what follows from a step's numbers, and
// checkpoints between steps. The resulting weights are the same bits for any number of ranks and threads, and whether
// or not it was interrupted and went on from a checkpoint. One object per rank, used on one thread; all ranks make the
// same calls. It reports through callbacks and writes no files by itself.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "worker/checkpoint/checkpointer.h"
#include "worker/comm/communicator.h"
#include "worker/train/guards.h"
#include "worker/train/objective.h"
#include "worker/train/options.h"
#include "worker/train/step_engine.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {

struct StepResult {
  uint64_t step = 0;         // from 1
  uint64_t steps = 0;        // of the whole training
  size_t rows = 0;           // of this global batch
  double loss = 0;           // mean over them, before the update
  double gradient_norm = 0;  // before clipping
  double learning_rate = 0;  // of the update
};

// What surrounds a training. The callbacks are called on every rank.
struct TrainHooks {
  // After every step that updated the parameters; its error ends the training.
  std::function<Status(const StepResult&)> on_step;
  // None: nothing is saved, and the first step that goes wrong ends the training.
  Checkpointer* checkpoints = nullptr;
  // With checkpoints: the parameters that training started from, for a return to them when none is sealed yet.
  std::function<Status(std::span<float>)> initial;
  // Training begins behind this step, which a checkpoint holds.
  std::function<void(uint64_t step)> on_resume;
  // The batch of this step was left out.
  std::function<void(uint64_t step)> on_skip;
};

class Trainer {
 public:
  // invalid_argument when there are more ranks than micro-batches. What the engine uses must outlive the trainer.
  static Result<Trainer> create(std::unique_ptr<StepEngine> engine, const TrainOptions& options, Communicator* comm);
  // With a CpuStep of these.
  static Result<Trainer> create(Objective* objective, const TrainOptions& options, Communicator* comm, ThreadPool* pool,
                                std::vector<float> parameters);

  // Trains for all epochs, from the newest checkpoint if there is one. A step that goes wrong (see Guards) and cannot
  // be made good is an invalid_argument that names the step.
  Status run(const TrainHooks& hooks);
  Status run(const std::function<Status(const StepResult&)>& on_step) {
    return run(TrainHooks{on_step, nullptr, {}, {}, {}});
  }

  uint64_t steps_done() const { return step_; }
  // Steps whose batch was left out, ascending.
  std::vector<uint64_t> skipped_steps() const { return guards_.skipped(); }

  // As the engine's.
  Result<OptimizerState> gather_optimizer_state() { return engine_->gather_optimizer_state(); }
  Result<std::vector<float>> take_parameters() { return engine_->take_parameters(); }

  static uint64_t steps_of(const TrainOptions& options, size_t examples);

 private:
  Trainer(std::unique_ptr<StepEngine> engine, const TrainOptions& options, Communicator* comm);
  StepPlan plan_of(uint64_t step) const;
  Progress progress() const;
  Status resume(const TrainHooks& hooks, bool may_start_over);
  Status begin_step(const TrainHooks& hooks);
  // The oldest that has begun: moves step_ on unless it went wrong and training goes back to an earlier one.
  Status end_step(const TrainHooks& hooks);

  const TrainOptions options_;
  Communicator* comm_;
  std::unique_ptr<StepEngine> engine_;
  const uint64_t batches_a_pass_;
  const uint64_t steps_;
  Guards guards_;
  uint64_t step_ = 0;               // done
  uint64_t begun_ = 0;              // or about to be left out
  uint64_t asked_ = 0;              // the checkpointer, whether one is due after this step
  bool checkpoint_is_due_ = false;  // after step begun_
};

}  // namespace freshet::worker
