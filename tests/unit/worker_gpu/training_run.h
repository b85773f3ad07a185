// One training by the trainer's loop, with checkpoints or without, and what it comes to. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "worker/checkpoint/checkpointer.h"
#include "worker/gpu/staged_communicator.h"
#include "worker/train/trainer.h"

namespace freshet::worker {

struct TrainingRun {
  TrainOptions options;
  std::filesystem::path checkpoints;  // after every second step; empty: none
  uint64_t epoch = 1;
  uint64_t stop_after = 0;  // a step; 0: at the end

  // What it came to; the optimizer's state and the tables on rank 0 only.
  std::vector<float> weights, m, v, row_sums;
  std::vector<double> losses, norms;
  std::vector<uint64_t> resumed_from, skipped;

  // `start`: of the parameters that `tensors` are.
  Status run_loop(std::unique_ptr<StepEngine> engine, const std::string& family, const std::vector<TensorView>& tensors,
                  const std::vector<float>& start, Communicator* comm) {
    ASSIGN_OR_RETURN(auto trainer, Trainer::create(std::move(engine), options, comm));
    std::optional<Checkpointer> saved;
    TrainHooks hooks;
    if (!checkpoints.empty()) {
      CheckpointOptions wanted;
      wanted.directory = checkpoints;
      wanted.epoch = epoch;
      wanted.every_steps = 2;
      wanted.training.set_family(family);
      hooks.checkpoints = &saved.emplace(wanted, tensors, comm, nullptr);
    }
    hooks.on_step = [&](const StepResult& step) -> Status {
      losses.push_back(step.loss);
      norms.push_back(step.gradient_norm);
      // Each is sealed before the next is due, as if steps took long.
      if (saved) RETURN_IF_ERROR(saved->finish());
      return step.step == stop_after ? cancelled("stopped") : Status::ok();
    };
    hooks.initial = [&](std::span<float> parameters) {
      std::ranges::copy(start, parameters.begin());
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

inline void expect_same(const TrainingRun& expected, const TrainingRun& found) {
  for (const auto& [a, b] : {std::pair{&expected.weights, &found.weights},
                             {&expected.m, &found.m},
                             {&expected.v, &found.v},
                             {&expected.row_sums, &found.row_sums}}) {
    ASSERT_EQ(a->size(), b->size());
    if (a->empty()) continue;
    EXPECT_EQ(std::memcmp(a->data(), b->data(), a->size() * sizeof(float)), 0);
  }
  EXPECT_EQ(expected.skipped, found.skipped);
}

// `run` over the devices of a gang that talk through the host, or over the only one.
template <class Run>
Status with_devices(Communicator* comm, const Run& run) {
  if (comm->size() == 1) {
    SingleDeviceCommunicator single;
    return run(&single);
  }
  StagedDeviceCommunicator staged(comm);
  return run(&staged);
}

}  // namespace freshet::worker
