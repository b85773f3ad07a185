// The training loop: passes over rows in memory, in global batches of fixed micro-batches that ranks and threads share,
// gradients summed in the fixed tree, AdamW on the segment of the parameters that a rank owns. The resulting weights
// are the same bits for any number of ranks and threads. One object per rank, used on one thread; all ranks make the
// same calls. It reports through a callback and writes no files.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/status.h"
#include "worker/comm/communicator.h"
#include "worker/comm/reduce.h"
#include "worker/comm/tree.h"
#include "worker/data/encoded.h"
#include "worker/model/tabular.h"
#include "worker/train/options.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {

struct StepResult {
  uint64_t step = 0;         // from 1
  uint64_t steps = 0;        // of the whole training
  size_t rows = 0;           // of this global batch
  double loss = 0;           // mean over them, before the update
  double gradient_norm = 0;  // before clipping
};

class Trainer {
 public:
  // invalid_argument when there are more ranks than micro-batches. `parameters`: where training starts; the same on all
  // ranks. Everything named here must outlive the trainer.
  static Result<Trainer> create(const TabularModel& model, const TrainOptions& options, Communicator* comm,
                                ThreadPool* pool, std::vector<float> parameters);

  // Trains for all epochs. `on_step` is called after every step on every rank; its error ends the training. A loss or a
  // gradient that is not finite is an invalid_argument that names the step.
  Status run(const EncodedRows& rows, const std::function<Status(const StepResult&)>& on_step);

  // All parameters, on every rank.
  const std::vector<float>& parameters() const { return parameters_; }
  uint64_t steps_done() const { return step_; }

  // AdamW's two moments for all parameters, on rank 0; collective.
  struct OptimizerState {
    std::vector<float> m, v;
  };
  Result<OptimizerState> gather_optimizer_state();

  static uint64_t steps_of(const TrainOptions& options, size_t rows);

 private:
  struct BatchNumbers {
    double loss_sum = 0;
    double norm = 0;
  };

  Trainer(const TabularModel& model, const TrainOptions& options, Communicator* comm, ThreadPool* pool,
          std::vector<float> parameters);
  Status run_step(const EncodedRows& rows, uint64_t pass, uint64_t cursor, StepResult* result);
  Status sum_micro_batches(const EncodedRows& rows, uint64_t pass, uint64_t cursor, size_t batch_rows,
                           SubtreeSums* sums);
  Result<BatchNumbers> share_numbers(const float* gradient);
  void update(const float* gradient, double norm);

  const TabularModel& model_;
  const TrainOptions options_;
  Communicator* comm_;
  ThreadPool* pool_;
  std::vector<float> parameters_;
  std::unique_ptr<BufferPool> buffers_;
  TreeReducer reducer_;
  std::vector<float> m_, v_;  // of the own segment
  uint64_t step_ = 0;
  Range micro_batches_;                              // those of this rank
  std::vector<TabularModel::Workspace> workspaces_;  // one a thread
  std::vector<std::vector<uint32_t>> indices_;       // one a thread
  std::vector<double> losses_, block_sums_;          // of the whole batch and all parameters
};

}  // namespace freshet::worker
