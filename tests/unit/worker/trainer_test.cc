#include "worker/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/unit/worker/shared_floats.h"
#include "tests/unit/worker/synthetic.h"
#include "worker/comm/local.h"
#include "worker/train/cpu_step.h"
#include "worker/train/tabular_objective.h"

namespace freshet::worker {
namespace {

// Two passes of 11 batches of 8 micro-batches and one of 5, the last of them short.
constexpr size_t kRows = 11 * 8 * 32 + 4 * 32 + 7;

TrainOptions options() {
  TrainOptions options;
  options.seed = 17;
  options.epochs = 2;
  options.micro_batch_rows = 32;
  options.micro_batches = 8;
  options.learning_rate = 5e-3;
  options.weight_decay = 1e-3;
  options.clip_norm = 0.5;
  options.schedule = {Schedule::Kind::kCosine, 5, 0.1, 0};
  return options;
}

struct Outcome {
  std::vector<float> weights, losses, m;
};

Status train(Communicator* comm, unsigned threads, const TrainOptions& o, const EncodedRows& rows, Outcome* outcome,
             bool binary = true) {
  ASSIGN_OR_RETURN(auto model, TabularModel::create(synthetic_shape(binary)));
  std::vector<float> parameters(model.parameters());
  model.initialise(o.seed, parameters.data());
  ThreadPool pool(threads);
  ASSIGN_OR_RETURN(auto objective, TabularObjective::create(model, rows, o.micro_batch_rows, pool.threads()));
  ASSIGN_OR_RETURN(auto trainer, Trainer::create(&objective, o, comm, &pool, std::move(parameters)));
  RETURN_IF_ERROR(trainer.run([&](const StepResult& step) {
    outcome->losses.push_back(static_cast<float>(step.loss));
    outcome->losses.push_back(static_cast<float>(step.gradient_norm));
    return Status::ok();
  }));
  ASSIGN_OR_RETURN(auto state, trainer.gather_optimizer_state());
  outcome->m = std::move(state.m);
  ASSIGN_OR_RETURN(outcome->weights, trainer.take_parameters());
  return Status::ok();
}

Outcome train_alone(unsigned threads, const TrainOptions& o, const EncodedRows& rows, bool binary = true) {
  SingleCommunicator comm;
  Outcome outcome;
  Status status = train(&comm, threads, o, rows, &outcome, binary);
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  return outcome;
}

class TrainerBits : public testing::TestWithParam<std::tuple<int, unsigned>> {};

TEST_P(TrainerBits, DoNotDependOnRanksAndThreads) {
  auto [ranks, threads] = GetParam();
  auto rows = synthetic_rows(kRows);
  Outcome expected = train_alone(1, options(), rows);
  size_t weights = expected.weights.size(), losses = expected.losses.size();
  ASSERT_EQ(losses, 2U * 2 * 12);
  SharedFloats result(2 * weights + losses);
  result.clear();
  Status status = run_local_gang(ranks, [&, threads = threads](Communicator& comm) -> Status {
    Outcome outcome;
    RETURN_IF_ERROR(train(&comm, threads, options(), rows, &outcome));
    if (comm.rank() == 0) {
      std::copy(outcome.m.begin(), outcome.m.end(), result.data());
      std::copy(outcome.losses.begin(), outcome.losses.end(), result.data() + weights);
    }
    if (comm.rank() == comm.size() - 1) {
      std::copy(outcome.weights.begin(), outcome.weights.end(), result.data() + weights + losses);
    }
    return Status::ok();
  });
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_EQ(std::memcmp(result.data(), expected.m.data(), weights * 4), 0) << "optimizer state";
  EXPECT_EQ(std::memcmp(result.data() + weights, expected.losses.data(), losses * 4), 0) << "losses and norms";
  EXPECT_EQ(std::memcmp(result.data() + weights + losses, expected.weights.data(), weights * 4), 0) << "weights";
}

INSTANTIATE_TEST_SUITE_P(RanksAndThreads, TrainerBits,
                         testing::Combine(testing::Values(1, 2, 3, 4, 8), testing::Values(1, 2)));

TEST(Trainer, LearnsABinaryAndARegressionLabel) {
  for (bool binary : {true, false}) {
    auto o = options();
    o.clip_norm = 0;
    o.epochs = 20;
    auto losses = train_alone(2, o, synthetic_rows(kRows, binary), binary).losses;
    // The label's own noise leaves about 0.45 nats, and 1/12 of squared error.
    double last = static_cast<double>(losses[losses.size() - 2]);
    EXPECT_GT(losses[0], binary ? 0.65F : 1.0F);
    EXPECT_LT(last, binary ? 0.55 : 0.25) << (binary ? "binary" : "regression");
  }
}

// Without decay and clipping AdamW's first step is as long as its learning rate.
TEST(Trainer, FollowsTheSchedule) {
  auto o = options();
  o.weight_decay = 0;
  o.clip_norm = 0;
  o.schedule = {Schedule::Kind::kWarmupStableDecay, 4, 0.5, 0.5};
  const auto rows = synthetic_rows(32 * 8 * 3);
  auto model = TabularModel::create(synthetic_shape(true)).value();
  std::vector<float> start(model.parameters());
  model.initialise(o.seed, start.data());
  SingleCommunicator comm;
  ThreadPool pool(1);
  auto objective = TabularObjective::create(model, rows, o.micro_batch_rows, 1).value();
  auto engine = std::make_unique<CpuStep>(&objective, o, &comm, &pool, start);
  const std::vector<float>& parameters = engine->flat_parameters();
  auto trainer = Trainer::create(std::move(engine), o, &comm).value();
  std::vector<double> ratios;
  Status status = trainer.run([&](const StepResult& step) {
    ratios.push_back(step.learning_rate / o.learning_rate);
    if (step.step > 1) return Status::ok();
    float longest = 0;
    for (size_t i = 0; i < start.size(); ++i) {
      longest = std::max(longest, std::fabs(parameters[i] - start[i]));
    }
    EXPECT_NEAR(longest / static_cast<float>(o.learning_rate), 0.25F, 1e-3F);
    return Status::ok();
  });
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_THAT(ratios, testing::Pointwise(testing::DoubleEq(), {0.25, 0.5, 0.75, 1.0, 0.75, 0.5}));
}

TEST(Trainer, SeedDecidesOrderAndStart) {
  auto rows = synthetic_rows(1000);
  auto o = options(), other = options();
  other.seed = 18;
  auto a = train_alone(1, o, rows), b = train_alone(1, o, rows), c = train_alone(1, other, rows);
  EXPECT_EQ(a.weights, b.weights);
  EXPECT_NE(a.weights, c.weights);
}

TEST(Trainer, StopsAtALossThatIsNotFinite) {
  auto rows = synthetic_rows(1000, false);
  rows.label[500] = std::numeric_limits<float>::infinity();
  Outcome outcome;
  SingleCommunicator comm;
  Status status = train(&comm, 2, options(), rows, &outcome, false);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(status.message(), testing::MatchesRegex("the loss is not finite at step [0-9]+ of 8: lower "
                                                      "optimizer.learning_rate .now 0.005000. or set .*clip_norm"));
}

// What the gates refuse must still be trained to its end.
TEST(Trainer, SurvivesALearningRateThatIsFarTooHigh) {
  auto o = options();
  o.learning_rate = 0.5;
  o.clip_norm = 0;
  auto outcome = train_alone(1, o, synthetic_rows(kRows));
  for (float w : outcome.weights) ASSERT_TRUE(std::isfinite(w));
}

TEST(Trainer, RefusesMoreRanksThanMicroBatches) {
  Status status = run_local_gang(3, [](Communicator& comm) -> Status {
    auto o = options();
    o.micro_batches = 2;
    Outcome outcome;
    return train(&comm, 1, o, synthetic_rows(100), &outcome);
  });
  EXPECT_EQ(status.message(),
            "rank 0: the gang has 3 ranks but the batch has 2 micro-batches: use fewer ranks or raise "
            "batch.micro_batches");
}

TEST(Trainer, RefusesNoRows) {
  Outcome outcome;
  SingleCommunicator comm;
  EXPECT_EQ(train(&comm, 1, options(), synthetic_rows(0), &outcome).message(), "there are no rows to train on");
}

TEST(TrainOptionsOf, FillsDefaultsAndNamesWhatIsWrong) {
  v1::TrainStep step;
  auto options = TrainOptions::of(step, 9);
  ASSERT_TRUE(options.is_ok());
  EXPECT_EQ(options->learning_rate, 1e-3);
  EXPECT_EQ(options->batch_rows(), 4096U);
  EXPECT_EQ(options->epochs, 1U);
  auto message = [](auto change) {
    v1::TrainStep bad;
    change(bad);
    return TrainOptions::of(bad, 0).status().message();
  };
  using testing::HasSubstr;
  EXPECT_THAT(message([](auto& s) { s.mutable_optimizer()->set_learning_rate(-1); }), HasSubstr("learning_rate"));
  EXPECT_THAT(message([](auto& s) { s.mutable_optimizer()->set_clip_norm(NAN); }), HasSubstr("clip_norm"));
  EXPECT_THAT(message([](auto& s) { s.mutable_optimizer()->set_beta2(1); }), HasSubstr("beta2"));
  EXPECT_THAT(message([](auto& s) { s.mutable_batch()->set_micro_batches(4'000'000'000); }), HasSubstr("batch"));
  EXPECT_THAT(message([](auto& s) { s.mutable_guards()->set_loss_spike_ratio(0.5); }),
              HasSubstr("guards.loss_spike_ratio"));
}

}  // namespace
}  // namespace freshet::worker
