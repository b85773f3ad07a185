// The step of a training on a GPU: each rank's micro-batches one after the other, their gradients added up in the fixed
// tree, AdamW on the own segment, the new weights to all ranks. The weights are the same bits for any number of ranks.
// All of a step is queued without waiting for the device, as two graphs that were recorded once; its numbers are read
// while the next one is computed. So it is the device that leaves out an update whose numbers are wrong.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/adamw.h"
#include "kernels/cuda/device.h"
#include "worker/comm/communicator.h"
#include "worker/comm/reduce.h"
#include "worker/gpu/device_communicator.h"
#include "worker/gpu/device_inputs.h"
#include "worker/gpu/device_objective.h"
#include "worker/gpu/device_reducer.h"
#include "worker/gpu/device_state.h"
#include "worker/train/options.h"
#include "worker/train/step_engine.h"

namespace freshet::worker {

// How ranks on GPUs talk: through the host about what is saved and kept, among the devices within a step.
struct DeviceGang {
  Communicator* host = nullptr;
  DeviceCommunicator* devices = nullptr;
};

class DeviceStep final : public StepEngine {
 public:
  // `parameters`: where training starts, the same on all ranks; those of tables in front, or left out where the tables
  // hold what they are to start from. The current device is used; all memory that training needs is allocated here, but
  // for snapshots. `records`: graphs, where the communicator can be recorded. All that is named here must outlive it.
  static Result<std::unique_ptr<DeviceStep>> create(DeviceObjective* objective, const TrainOptions& options,
                                                    const DeviceGang& gang, std::span<const float> parameters,
                                                    bool records = true, ZeroStage stage = ZeroStage::kOne);
  ~DeviceStep() override;

  size_t examples() const override { return objective_.examples(); }
  size_t parameters() const override;
  bool is_late() const override { return true; }
  Status prepare(const StepPlan& plan) override { return inputs_->prepare(plan); }
  // Calls no `before_update`: its snapshots are copies.
  Status begin(const StepPlan& plan, const std::function<void()>& before_update) override;
  Result<StepNumbers> end() override;

  // Queued, as a step is: also while the step that it is of is under way.
  Result<TrainingSnapshot> snapshot() override;
  Status overwrite(const std::function<Result<bool>(const TrainingMemory&)>& fill) override;
  Status start_over(std::span<const float> parameters) override;
  Result<OptimizerState> gather_optimizer_state() override;
  Result<std::vector<float>> take_parameters() override;

  // Kernels and copies in the graphs of a full batch; 0 until they are recorded.
  size_t graph_nodes() const;

 private:
  // What is queued each step: once as it is, which loads its kernels, then recorded.
  struct Phase {
    bool was_queued = false;
    std::optional<cuda::Graph> graph;
  };
  // Of a batch of some number of micro-batches.
  struct Phases {
    float* gradient = nullptr;  // the total of the own segment
    Phase sum, update;
  };
  struct Pending {
    uint64_t step = 0;
    size_t rows = 0;
  };
  DeviceStep(DeviceObjective* objective, const TrainOptions& options, const DeviceGang& gang, bool records,
             ZeroStage stage);
  Status allocate();
  Status allocate_inputs();
  Status start_flat(std::span<const float> parameters);
  cuda::StepInput input_of(const StepPlan& plan) const;
  Status run(Phase* phase, const std::function<Status()>& queue);
  Status queue_sum(size_t leaves, Phases* phases);
  Status gather_losses(size_t leaves);
  Status queue_update(const Phases& phases);
  Status end_objective_step();

  DeviceObjective& objective_;
  const TrainOptions options_;
  const DeviceGang gang_;
  const bool records_;
  const ZeroStage stage_;
  std::optional<cuda::Stream> stream_;
  std::optional<DeviceReducer> reducer_;
  std::optional<DeviceState> state_;
  std::unique_ptr<DeviceInputs> inputs_;
  TreeReducer gatherer_;  // of what is kept in the end

  cuda::DeviceMemory decayed_;  // borders, of all parameters
  size_t decayed_borders_ = 0;
  cuda::DeviceMemory losses_, block_sums_;  // of the whole batch and all parameters
  cuda::DeviceMemory notes_;                // the objective's, of all ranks
  cuda::DeviceMemory output_;
  cuda::PinnedMemory outputs_;         // of every other step
  std::vector<cuda::Event> finished_;  // behind them
  std::map<size_t, Phases> phases_;    // by the number of micro-batches
  uint64_t begun_ = 0, ended_ = 0;     // steps
  std::array<Pending, 2> pending_;
};

}  // namespace freshet::worker
