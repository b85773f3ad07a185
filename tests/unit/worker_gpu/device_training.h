// Trainings of the linear model on the host's loop arithmetic and on a device. Tests only.
#pragma once

#include <vector>

#include "tests/unit/worker_gpu/linear_objective.h"
#include "tests/unit/worker_gpu/training_run.h"
#include "worker/gpu/device_step.h"
#include "worker/train/cpu_step.h"

namespace freshet::worker {

// Two passes, each of some full batches and a short one, whose last micro-batch is short, too.
inline TrainOptions device_options(size_t micro_batches) {
  TrainOptions options;
  options.seed = 5;
  options.epochs = 2;
  options.micro_batch_rows = 4;
  options.micro_batches = micro_batches;
  options.learning_rate = 2e-4;
  options.weight_decay = 0.1;
  options.schedule = {Schedule::Kind::kCosine, 3, 0.1, 0};
  return options;
}
inline size_t device_examples(size_t micro_batches) { return 4 * micro_batches * 3 + 4 * (micro_batches / 2) + 1; }

struct DeviceTraining : TrainingRun {
  explicit DeviceTraining(size_t micro_batches) : targets(linear_targets(device_examples(micro_batches))) {
    options = device_options(micro_batches);
  }

  std::vector<float> targets;
  bool records = true;
  ZeroStage stage = ZeroStage::kOne;

  Status run_on_device(Communicator* comm) {
    return with_devices(comm, [&](DeviceCommunicator* devices) { return run_on_device(comm, devices); });
  }
  Status run_on_device(Communicator* comm, DeviceCommunicator* devices) {
    LinearObjective objective(targets, options.micro_batch_rows);
    ASSIGN_OR_RETURN(auto engine,
                     DeviceStep::create(&objective, options, {comm, devices}, linear_start(), records, stage));
    return run_loop(std::move(engine), "linear", linear_tensors(), linear_start(), comm);
  }

  Status run_on_cpu(Communicator* comm) {
    LinearObjective objective(targets, options.micro_batch_rows);
    HostedObjective hosted(&objective);
    ThreadPool pool(1);
    return run_loop(std::make_unique<CpuStep>(&hosted, options, comm, &pool, linear_start()), "linear",
                    linear_tensors(), linear_start(), comm);
  }
};

}  // namespace freshet::worker
