// Trainings of a small recommender on a device, tables and all, and what they come to. Tests only.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "tests/unit/worker/recommender.h"
#include "worker/gpu/device_step.h"
#include "worker/gpu/staged_communicator.h"
#include "worker/gpu/tabular_device_objective.h"
#include "worker/train/trainer.h"

namespace freshet::worker {

// Four tables, one of them of bags, all of even widths or not.
inline TabularShape shape_of_four(uint32_t width) {
  TabularShape shape = recommender_shapes().at("cross of low rank");
  shape.categorical.push_back({"item", 40, width, false});
  shape.categorical.push_back({"day", 7, 4, false});
  return shape;
}

// Two passes of five steps, of which the fifth is short, as its last micro-batch is.
struct TabularDeviceTraining {
  explicit TabularDeviceTraining(const TabularShape& shape = recommender_shapes().at("cross of low rank"))
      : model(*TabularModel::create(shape)), rows(recommender_rows(model.shape(), 4 * 4 * 6 + 6 + 5)) {
    options.seed = 5;
    options.epochs = 2;
    options.micro_batch_rows = 6;
    options.micro_batches = 4;
    options.learning_rate = 0.01;
    options.weight_decay = 0.01;
    options.embeddings = kernels::RowwiseAdagradStep{0.05F, 1e-6F};
    options.schedule = {Schedule::Kind::kCosine, 2, 0.1, 0};
  }

  TabularModel model;
  EncodedRows rows;
  TrainOptions options;
  std::filesystem::path checkpoints;  // after every second step; empty: none
  uint64_t epoch = 1;
  uint64_t stop_after = 0;  // a step; 0: at the end
  bool records = true;

  // What it came to; the optimizer's state and the tables on rank 0 only.
  std::vector<float> weights, m, v, row_sums;
  std::vector<double> losses;
  std::vector<uint64_t> resumed_from, skipped;

  std::vector<float> start() const {
    std::vector<float> parameters(model.parameters());
    model.initialise(7, parameters.data());
    return parameters;
  }

  Status run(Communicator* comm) {
    SingleDeviceCommunicator single;
    StagedDeviceCommunicator staged(comm);
    if (comm->size() > 1) return run(comm, &staged);
    return run(comm, &single);
  }
  Status run(Communicator* comm, DeviceCommunicator* devices) {
    ASSIGN_OR_RETURN(auto objective,
                     TabularDeviceObjective::create(model, rows, options, *options.embeddings, {}, devices));
    ASSIGN_OR_RETURN(auto engine, DeviceStep::create(objective.get(), options, {comm, devices}, start(), records));
    ASSIGN_OR_RETURN(auto trainer, Trainer::create(std::move(engine), options, comm));
    std::optional<Checkpointer> saved;
    TrainHooks hooks;
    if (!checkpoints.empty()) {
      CheckpointOptions wanted;
      wanted.directory = checkpoints;
      wanted.epoch = epoch;
      wanted.every_steps = 2;
      wanted.training.set_family("tabular");
      hooks.checkpoints = &saved.emplace(wanted, model.tensors(), comm, nullptr);
    }
    hooks.on_step = [&](const StepResult& step) -> Status {
      losses.push_back(step.loss);
      // Each is sealed before the next is due, as if steps took long.
      if (saved) RETURN_IF_ERROR(saved->finish());
      return step.step == stop_after ? cancelled("stopped") : Status::ok();
    };
    hooks.initial = [this](std::span<float> parameters) {
      std::ranges::copy(start(), parameters.begin());
      return Status::ok();
    };
    hooks.on_resume = [this](uint64_t step) { resumed_from.push_back(step); };
    RETURN_IF_ERROR(trainer.run(hooks));
    skipped = trainer.skipped_steps();
    ASSIGN_OR_RETURN(auto state, trainer.gather_optimizer_state());
    m = std::move(state.m);
    v = std::move(state.v);
    row_sums = std::move(state.row_sums);
    ASSIGN_OR_RETURN(weights, trainer.take_parameters());
    return Status::ok();
  }
};

}  // namespace freshet::worker
