// The training loop: passes over an objective's examples, in global batches of fixed micro-batches that ranks and
// threads share, gradients summed in the fixed tree, AdamW on the segment of the parameters that a rank owns. The
// resulting weights are the same bits for any number of ranks and threads, and whether or not it was interrupted and
// went on from a checkpoint. One object per rank, used on one thread; all ranks make the same calls. It reports through
// callbacks and writes no files by itself.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/status.h"
#include "worker/checkpoint/checkpointer.h"
#include "worker/comm/communicator.h"
#include "worker/comm/reduce.h"
#include "worker/comm/tree.h"
#include "worker/train/guards.h"
#include "worker/train/objective.h"
#include "worker/train/options.h"
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
  // invalid_argument when there are more ranks than micro-batches. `parameters`: where training starts; the same on all
  // ranks. Everything named here must outlive the trainer.
  static Result<Trainer> create(Objective* objective, const TrainOptions& options, Communicator* comm, ThreadPool* pool,
                                std::vector<float> parameters);

  // Trains for all epochs, from the newest checkpoint if there is one. A step that goes wrong (see Guards) and cannot
  // be made good is an invalid_argument that names the step.
  Status run(const TrainHooks& hooks);
  Status run(const std::function<Status(const StepResult&)>& on_step) {
    return run(TrainHooks{on_step, nullptr, {}, {}, {}});
  }

  // All parameters, on every rank, but those of tables that the objective trains by itself.
  const std::vector<float>& parameters() const { return parameters_; }
  uint64_t steps_done() const { return step_; }
  // Steps whose batch was left out, ascending.
  std::vector<uint64_t> skipped_steps() const { return guards_.skipped(); }

  // AdamW's two moments for all of them, and the numbers that row-wise AdaGrad keeps for the rows of tables, on rank 0;
  // collective.
  struct OptimizerState {
    std::vector<float> m, v, row_sums;
  };
  Result<OptimizerState> gather_optimizer_state();

  // The last call: all parameters, on rank 0 with the tables in front, as training started from them; collective.
  Result<std::vector<float>> take_parameters();

  static uint64_t steps_of(const TrainOptions& options, size_t examples);

 private:
  struct BatchNumbers {
    double loss_sum = 0;
    double norm = 0;
  };

  Trainer(Objective* objective, const TrainOptions& options, Communicator* comm, ThreadPool* pool,
          std::vector<float> parameters);
  // The next step, which moves step_ on unless it goes wrong and training goes back to an earlier one.
  Status run_step(const TrainHooks& hooks);
  Status take(Guards::Action action, const std::string& trouble, const float* gradient, const StepResult& result,
              const TrainHooks& hooks);
  Status resume(const TrainHooks& hooks, bool may_start_over);
  size_t leaves_of(size_t rows) const;
  TrainingMemory memory();
  Progress progress() const;
  Status sum_micro_batches(uint64_t pass, uint64_t cursor, size_t batch_rows, SubtreeSums* sums);
  void round_parameters(Range range);
  Status share_parameters();
  Result<BatchNumbers> share_numbers(const float* gradient);
  void update(const float* gradient, const StepResult& result);

  Objective* const objective_;
  const TrainOptions options_;
  Communicator* comm_;
  ThreadPool* pool_;
  std::vector<float> parameters_;
  std::unique_ptr<BufferPool> buffers_;
  TreeReducer reducer_;
  const std::vector<Range> decayed_;  // of all parameters
  std::vector<float> m_, v_;          // of the own segment
  uint64_t step_ = 0;
  uint64_t batches_a_pass_ = 0;
  uint64_t steps_ = 0;
  Guards guards_;
  Range micro_batches_;                             // those of this rank
  std::vector<uint32_t> examples_;                  // of them, in this step
  std::vector<std::unique_ptr<ThreadPool>> alone_;  // of one thread, one for each
  std::vector<double> losses_, block_sums_;         // of the whole batch and all parameters
};

}  // namespace freshet::worker
