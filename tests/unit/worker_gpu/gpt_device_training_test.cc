// A gpt trained by the loop on a device: the same bits however it is done.
#include <cstring>

#include "tests/unit/worker/temp_dir.h"
#include "tests/unit/worker_gpu/gpt_device_support.h"
#include "tests/unit/worker_gpu/thread_gang.h"
#include "worker/gpu/device_step.h"
#include "worker/gpu/gpt_device_objective.h"
#include "worker/gpu/staged_communicator.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

constexpr GptDeviceShape kShape{2, 16};

// Two passes over nine sequences: a batch of four micro-batches, and one of one sequence.
TrainOptions options() {
  TrainOptions options;
  options.seed = 3;
  options.epochs = 2;
  options.micro_batch_rows = kShape.sequences;
  options.micro_batches = 4;
  options.learning_rate = 3e-3;
  options.weight_decay = 0.1;
  options.clip_norm = 1;
  return options;
}

struct Outcome {
  std::vector<double> losses;
  std::vector<float> weights;
};

void expect_same(const Outcome& expected, const Outcome& found) {
  EXPECT_EQ(found.losses, expected.losses);
  ASSERT_EQ(found.weights.size(), expected.weights.size());
  EXPECT_EQ(std::memcmp(found.weights.data(), expected.weights.data(), 4 * expected.weights.size()), 0);
}

class GptDeviceTraining : public cuda::CudaTest {
 protected:
  GptDeviceTraining() {
    auto config = tiny_gpt(Style::kGpt2);
    config.layers = 1;
    config.feed_forward = 208;
    config.dropout = 0.1F;
    model_.emplace(model_of(config));
    weights_.resize(model_->parameters());
    model_->initialise(4, weights_.data());
    Philox philox(8, stream_of("text"));
    for (size_t i = 0; i < 9 * kShape.length + 1; ++i) tokens_.push_back(static_cast<Token>(philox.below(i, 7)));
  }

  Result<std::unique_ptr<GptDeviceObjective>> objective(bool float8) const {
    return GptDeviceObjective::create(*model_, tokens_, kShape, options().seed, {.float8 = float8});
  }
  Status run(Result<Trainer> made, TrainHooks hooks, Outcome* outcome) const {
    ASSIGN_OR_RETURN(auto trainer, std::move(made));
    hooks.on_step = [outcome, next = hooks.on_step](const StepResult& step) {
      outcome->losses.push_back(step.loss);
      return next ? next(step) : Status::ok();
    };
    RETURN_IF_ERROR(trainer.run(hooks));
    ASSIGN_OR_RETURN(outcome->weights, trainer.take_parameters());
    return Status::ok();
  }
  Status train_on_device(Communicator* comm, bool float8, bool records, Outcome* outcome,
                         const TrainHooks& hooks = {}) const {
    ASSIGN_OR_RETURN(auto made, objective(float8));
    SingleDeviceCommunicator single;
    StagedDeviceCommunicator staged(comm);
    DeviceCommunicator* devices = &single;
    if (comm->size() > 1) devices = &staged;
    ASSIGN_OR_RETURN(auto engine, DeviceStep::create(made.get(), options(), {comm, devices}, weights_, records));
    return run(Trainer::create(std::move(engine), options(), comm), hooks, outcome);
  }
  void expect_same_bits_on_any_ranks(bool float8, const std::vector<int>& rank_counts) const {
    SingleCommunicator alone;
    Outcome expected, recorded;
    EXPECT_OK(train_on_device(&alone, float8, false, &expected));
    ASSERT_EQ(expected.losses.size(), 4U);
    EXPECT_OK(train_on_device(&alone, float8, true, &recorded));
    expect_same(expected, recorded);
    for (int ranks : rank_counts) {
      SCOPED_TRACE(ranks);
      std::vector<Outcome> outcomes(static_cast<size_t>(ranks));
      EXPECT_OK(run_thread_gang(ranks, [&](Communicator& comm) {
        return train_on_device(&comm, float8, false, &outcomes[static_cast<size_t>(comm.rank())]);
      }));
      for (const Outcome& outcome : outcomes) expect_same(expected, outcome);
    }
  }

  std::optional<GptModel> model_;
  std::vector<float> weights_;
  std::vector<Token> tokens_;
  SingleCommunicator alone_;
  SingleDeviceCommunicator single_;
};

TEST_F(GptDeviceTraining, HasTheSameBitsRecordedOrNotOnAnyRanks) { expect_same_bits_on_any_ranks(false, {2}); }

TEST_F(GptDeviceTraining, In8BitsToo) { expect_same_bits_on_any_ranks(true, {2, 3}); }

// The magnitudes of the steps before are in the checkpoint.
TEST_F(GptDeviceTraining, In8BitsItGoesOnFromACheckpointWithTheSameBits) {
  TempDir directory;
  Outcome whole, cut, resumed;
  EXPECT_OK(train_on_device(&alone_, true, true, &whole));
  auto hooks_of = [&](uint64_t epoch, std::optional<Checkpointer>* checkpoints, Communicator* comm) {
    CheckpointOptions wanted;
    wanted.directory = directory.path();
    wanted.epoch = epoch;
    wanted.every_steps = 2;
    wanted.training.set_family("gpt");
    TrainHooks hooks;
    hooks.checkpoints = &checkpoints->emplace(wanted, model_->tensors(), comm, nullptr);
    return hooks;
  };
  std::optional<Checkpointer> checkpoints;
  auto hooks = hooks_of(1, &checkpoints, &alone_);
  hooks.on_step = [&](const StepResult& step) -> Status {
    RETURN_IF_ERROR(checkpoints->finish());
    return step.step == 3 ? cancelled("stopped") : Status::ok();
  };
  EXPECT_EQ(train_on_device(&alone_, true, true, &cut, hooks).message(), "stopped");
  EXPECT_OK(run_thread_gang(2, [&](Communicator& comm) -> Status {
    std::optional<Checkpointer> own;
    Outcome outcome;
    auto resuming = hooks_of(2, &own, &comm);
    std::vector<uint64_t> from;
    resuming.on_resume = [&](uint64_t step) { from.push_back(step); };
    RETURN_IF_ERROR(train_on_device(&comm, true, false, &outcome, resuming));
    if (from != std::vector<uint64_t>{2}) return internal("it has not gone on from step 2");
    if (comm.rank() == 1) resumed = outcome;
    return Status::ok();
  }));
  whole.losses.erase(whole.losses.begin(), whole.losses.begin() + 2);
  expect_same(whole, resumed);
}

TEST_F(GptDeviceTraining, AStepThatIsLeftOutLeavesNoMagnitudes) {
  std::vector<Outcome> outcomes;
  std::vector<std::vector<std::byte>> states;
  for (bool has_bad_step : {false, true}) {
    auto made = objective(true);
    ASSERT_TRUE(made.is_ok()) << made.status().to_string();
    auto engine = DeviceStep::create(made->get(), options(), {&alone_, &single_}, weights_).value();
    auto take_step = [&](uint64_t step, double loss_limit) {
      StepPlan plan;
      plan.step = step;
      plan.rows = 8;
      plan.learning_rate = 0.1;  // each step changes magnitudes
      plan.loss_limit = loss_limit;
      EXPECT_OK(engine->begin(plan, [] {}));
      const auto numbers = engine->end().value();
      EXPECT_EQ(numbers.is_applied, loss_limit == 0);
      return numbers.loss;
    };
    Outcome outcome;
    take_step(1, 0);
    if (has_bad_step) take_step(2, 1e-3);
    for (uint64_t step : {3, 4}) outcome.losses.push_back(take_step(step, 0));
    const auto snapshot = engine->snapshot().value();
    EXPECT_OK(snapshot.wait());
    states.emplace_back(snapshot.objective.begin(), snapshot.objective.end());
    EXPECT_EQ(states.back().size(), 12 * sizeof(cuda::Float8History));
    outcome.weights = engine->take_parameters().value();
    outcomes.push_back(std::move(outcome));
  }
  expect_same(outcomes[0], outcomes[1]);
  EXPECT_EQ(states[0], states[1]);
  for (size_t i = 0; i < states[0].size(); i += sizeof(cuda::Float8History)) {
    cuda::Float8History history;
    std::memcpy(&history, states[0].data() + i, sizeof history);
    EXPECT_EQ(history.steps, 3U);
    for (unsigned step = 0; step < 3; ++step) EXPECT_GT(history.magnitudes[step], 0) << i;
  }
}

}  // namespace
}  // namespace freshet::worker
