// Trainings of a small recommender on a device, tables and all. Tests only.
#pragma once

#include <vector>

#include "tests/unit/worker/recommender.h"
#include "tests/unit/worker_gpu/training_run.h"
#include "worker/gpu/device_step.h"
#include "worker/gpu/tabular_device_objective.h"

namespace freshet::worker {

// Four tables, one of them of bags, all of even widths or not.
inline TabularShape shape_of_four(uint32_t width) {
  TabularShape shape = recommender_shapes().at("cross of low rank");
  shape.categorical.push_back({"item", 40, width, false});
  shape.categorical.push_back({"day", 7, 4, false});
  return shape;
}

// Two passes of five steps, of which the fifth is short, as its last micro-batch is.
struct TabularDeviceTraining : TrainingRun {
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
  bool records = true;

  std::vector<float> start() const {
    std::vector<float> parameters(model.parameters());
    model.initialise(7, parameters.data());
    return parameters;
  }

  Status run(Communicator* comm) {
    return with_devices(comm, [&](DeviceCommunicator* devices) { return run(comm, devices); });
  }
  Status run(Communicator* comm, DeviceCommunicator* devices) {
    ASSIGN_OR_RETURN(auto objective,
                     TabularDeviceObjective::create(model, rows, options, *options.embeddings, {}, devices));
    ASSIGN_OR_RETURN(auto engine, DeviceStep::create(objective.get(), options, {comm, devices}, start(), records));
    return run_loop(std::move(engine), "tabular", model.tensors(), start(), comm);
  }
};

}  // namespace freshet::worker
