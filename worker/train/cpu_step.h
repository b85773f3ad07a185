// The step of a training on a rank's threads: micro-batches side by side, their gradients added up in the fixed tree as
// they come, joined with those of other ranks, AdamW on the own segment. The weights are the same bits for any number
// of ranks and threads.
#pragma once

#include <memory>
#include <vector>

#include "worker/comm/communicator.h"
#include "worker/comm/reduce.h"
#include "worker/comm/tree.h"
#include "worker/train/objective.h"
#include "worker/train/options.h"
#include "worker/train/step_engine.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {

class CpuStep final : public StepEngine {
 public:
  // `parameters`: where training starts, those of tables in front; the same on all ranks. Everything named here must
  // outlive it.
  CpuStep(Objective* objective, const TrainOptions& options, Communicator* comm, ThreadPool* pool,
          std::vector<float> parameters);

  size_t examples() const override { return objective_->examples(); }
  size_t parameters() const override;
  Status begin(const StepPlan& plan, const std::function<void()>& before_update) override;
  Result<StepNumbers> end() override { return numbers_; }
  Result<TrainingSnapshot> snapshot() override;
  Status overwrite(const std::function<Result<bool>(const TrainingMemory&)>& fill) override;
  Status start_over(std::span<const float> parameters) override;
  Result<OptimizerState> gather_optimizer_state() override;
  Result<std::vector<float>> take_parameters() override;

  // All but those of tables.
  const std::vector<float>& flat_parameters() const { return parameters_; }

 private:
  std::vector<TableMemory> tables() const;
  Status sum_micro_batches(const StepPlan& plan, SubtreeSums* sums);
  void round_parameters(Range range);
  Status share_parameters();
  // Fills numbers_.
  Status share_numbers(const float* gradient, size_t rows);
  void update(const float* gradient, const StepPlan& plan);

  Objective* const objective_;
  const TrainOptions options_;
  Communicator* comm_;
  ThreadPool* pool_;
  std::vector<float> parameters_;
  BufferPool buffers_;
  TreeReducer reducer_;
  const std::vector<Range> decayed_;                // of all parameters
  std::vector<float> m_, v_;                        // of the own segment
  Range micro_batches_;                             // those of this rank
  std::vector<uint32_t> examples_;                  // of them, in this step
  std::vector<std::unique_ptr<ThreadPool>> alone_;  // of one thread, one for each
  std::vector<double> losses_, block_sums_;         // of the whole batch and all parameters
  StepNumbers numbers_;                             // of the newest step
};

}  // namespace freshet::worker
