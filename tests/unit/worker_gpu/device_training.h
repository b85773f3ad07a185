// Trainings of the linear model on the host's loop arithmetic and on a device, and what they come to. Tests only.
#pragma once

#include <functional>
#include <vector>

#include "tests/unit/worker_gpu/linear_objective.h"
#include "worker/gpu/device_step.h"
#include "worker/gpu/staged_communicator.h"
#include "worker/train/cpu_step.h"
#include "worker/train/trainer.h"

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

struct DeviceTraining {
  explicit DeviceTraining(size_t micro_batches)
      : options(device_options(micro_batches)), targets(linear_targets(device_examples(micro_batches))) {}

  TrainOptions options;
  std::vector<float> targets;
  bool records = true;
  ZeroStage stage = ZeroStage::kOne;
  // What else surrounds the training.
  std::function<void(Communicator*, TrainHooks*)> surround = [](Communicator*, TrainHooks*) {};

  // What it came to; the optimizer's state on rank 0 only.
  std::vector<float> weights, m, v;
  std::vector<double> losses, norms;
  std::vector<uint64_t> skipped;

  Status run_on_device(Communicator* comm) {
    SingleDeviceCommunicator single;
    StagedDeviceCommunicator staged(comm);
    if (comm->size() > 1) return run_on_device(comm, &staged);
    return run_on_device(comm, &single);
  }
  Status run_on_device(Communicator* comm, DeviceCommunicator* devices) {
    LinearObjective objective(targets, options.micro_batch_rows);
    ASSIGN_OR_RETURN(auto engine,
                     DeviceStep::create(&objective, options, {comm, devices}, linear_start(), records, stage));
    return run(std::move(engine), comm);
  }

  Status run_on_cpu(Communicator* comm) {
    LinearObjective objective(targets, options.micro_batch_rows);
    HostedObjective hosted(&objective);
    ThreadPool pool(1);
    return run(std::make_unique<CpuStep>(&hosted, options, comm, &pool, linear_start()), comm);
  }

 private:
  Status run(std::unique_ptr<StepEngine> engine, Communicator* comm) {
    ASSIGN_OR_RETURN(auto trainer, Trainer::create(std::move(engine), options, comm));
    TrainHooks hooks;
    hooks.on_step = [this](const StepResult& step) {
      losses.push_back(step.loss);
      norms.push_back(step.gradient_norm);
      return Status::ok();
    };
    hooks.initial = [](std::span<float> parameters) {
      std::ranges::copy(linear_start(), parameters.begin());
      return Status::ok();
    };
    surround(comm, &hooks);
    RETURN_IF_ERROR(trainer.run(hooks));
    skipped = trainer.skipped_steps();
    ASSIGN_OR_RETURN(auto state, trainer.gather_optimizer_state());
    m = std::move(state.m);
    v = std::move(state.v);
    ASSIGN_OR_RETURN(weights, trainer.take_parameters());
    return Status::ok();
  }
};

}  // namespace freshet::worker
