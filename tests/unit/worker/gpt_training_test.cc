// The trainer on a gpt: the same bits on any number of ranks and threads, with dropout and in bfloat16 too, and that it
// learns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/worker/shared_floats.h"
#include "tests/unit/worker/temp_dir.h"
#include "worker/comm/local.h"
#include "worker/train/gpt_objective.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

constexpr uint32_t kVocabulary = 11;

GptConfig config(GptConfig::Style style, GptConfig::Compute compute) {
  GptConfig made;
  made.style = style;
  made.compute = compute;
  made.layers = 2;
  made.heads = 4;
  made.kv_heads = style == GptConfig::Style::kLlama ? 2 : 4;
  made.width = 32;
  made.feed_forward = 64;
  made.context = 12;
  made.vocabulary = kVocabulary;
  made.dropout = 0.1F;
  return made;
}

// Each token follows from the two before it, but for one in seven.
std::vector<Token> text() {
  std::vector<Token> tokens = {1, 2};
  for (uint32_t i = 2; i < 1501; ++i) {
    tokens.push_back(i % 7 == 0 ? i * i % kVocabulary : (tokens[i - 1] + 3 * tokens[i - 2]) % kVocabulary);
  }
  return tokens;
}

TrainOptions options() {
  TrainOptions made;
  made.seed = 5;
  made.epochs = 2;
  made.micro_batch_rows = 3;
  made.micro_batches = 8;
  made.learning_rate = 5e-3;
  made.clip_norm = 1;
  return made;
}

// Weights, then the loss of each step.
Result<std::vector<float>> train(Communicator* comm, unsigned threads, const GptConfig& shape, const TrainOptions& o,
                                 const std::vector<Token>& tokens) {
  ASSIGN_OR_RETURN(auto model, GptModel::create(shape));
  std::vector<float> parameters(model.parameters());
  model.initialise(o.seed, parameters.data());
  ThreadPool pool(threads);
  ASSIGN_OR_RETURN(auto objective,
                   GptObjective::create(model, tokens, shape.context, o.micro_batch_rows, o.seed, pool.threads()));
  ASSIGN_OR_RETURN(auto trainer, Trainer::create(&objective, o, comm, &pool, std::move(parameters)));
  std::vector<float> losses;
  RETURN_IF_ERROR(trainer.run([&](const StepResult& step) {
    losses.push_back(static_cast<float>(step.loss));
    return Status::ok();
  }));
  ASSIGN_OR_RETURN(std::vector<float> result, trainer.take_parameters());
  result.insert(result.end(), losses.begin(), losses.end());
  return result;
}

using Shape = std::tuple<GptConfig::Style, GptConfig::Compute>;
class GptTrainingBits : public testing::TestWithParam<Shape> {};

TEST_P(GptTrainingBits, DoNotDependOnRanksAndThreads) {
  const GptConfig shape = config(std::get<0>(GetParam()), std::get<1>(GetParam()));
  const auto tokens = text();
  SingleCommunicator alone;
  const auto expected = train(&alone, 1, shape, options(), tokens).value();
  // Where a rank has more threads than micro-batches, or a rest of them, several threads work on one.
  for (auto [ranks, threads] : {std::pair{1, 3U}, {1, 12U}, {2, 1U}, {3, 2U}, {4, 1U}, {4, 3U}, {8, 1U}, {8, 2U}}) {
    SharedFloats result(expected.size());
    result.clear();
    Status status = run_local_gang(ranks, [&, threads = threads](Communicator& comm) -> Status {
      ASSIGN_OR_RETURN(auto outcome, train(&comm, threads, shape, options(), tokens));
      if (comm.rank() == comm.size() - 1) std::copy(outcome.begin(), outcome.end(), result.data());
      return Status::ok();
    });
    ASSERT_TRUE(status.is_ok()) << status.to_string();
    EXPECT_TRUE(result.values() == expected) << ranks << " ranks with " << threads << " threads";
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, GptTrainingBits,
                         testing::Combine(testing::Values(GptConfig::Style::kGpt2, GptConfig::Style::kLlama),
                                          testing::Values(GptConfig::Compute::kFloat32,
                                                          GptConfig::Compute::kBfloat16)));

// The rounded copy of the weights is no part of a checkpoint.
TEST_P(GptTrainingBits, AreThoseOfATrainingThatDidNotStop) {
  const GptConfig shape = config(std::get<0>(GetParam()), std::get<1>(GetParam()));
  const auto tokens = text();
  const auto o = options();
  SingleCommunicator comm;
  auto expected = train(&comm, 1, shape, o, tokens).value();

  auto model = GptModel::create(shape).value();
  expected.resize(model.parameters());
  TempDir directory;
  uint64_t resumed_from = 0;
  auto run = [&](uint64_t stop_at) -> Result<std::vector<float>> {
    std::vector<float> parameters(model.parameters());
    model.initialise(o.seed, parameters.data());
    ThreadPool pool(2);
    ASSIGN_OR_RETURN(auto objective, GptObjective::create(model, tokens, shape.context, o.micro_batch_rows, o.seed, 2));
    ASSIGN_OR_RETURN(auto trainer, Trainer::create(&objective, o, &comm, &pool, std::move(parameters)));
    CheckpointOptions wanted;
    wanted.directory = directory.path();
    wanted.every_steps = 3;
    Checkpointer checkpoints(wanted, model.tensors(), &comm, {});
    TrainHooks hooks;
    hooks.checkpoints = &checkpoints;
    hooks.on_resume = [&](uint64_t step) { resumed_from = step; };
    hooks.on_step = [&](const StepResult& step) -> Status {
      RETURN_IF_ERROR(checkpoints.finish());
      return step.step == stop_at ? cancelled("stopped") : Status::ok();
    };
    RETURN_IF_ERROR(trainer.run(hooks));
    return trainer.take_parameters();
  };
  EXPECT_EQ(run(8).status().message(), "stopped");
  EXPECT_TRUE(run(0).value() == expected);
  EXPECT_EQ(resumed_from, 6u);
}

TEST(GptTraining, Learns) {
  auto o = options();
  o.epochs = 12;
  SingleCommunicator alone;
  auto shape = config(GptConfig::Style::kGpt2, GptConfig::Compute::kFloat32);
  shape.dropout = 0;
  const auto result = train(&alone, 2, shape, o, text()).value();
  const size_t steps = 12 * 6;
  const float first = result[result.size() - steps], last = result.back();
  EXPECT_NEAR(first, std::log(static_cast<float>(kVocabulary)), 0.2F);
  EXPECT_LT(last, 1.5F);
}

TEST(GptTraining, NeedsAWholeSequence) {
  auto model = GptModel::create(config(GptConfig::Style::kGpt2, GptConfig::Compute::kFloat32)).value();
  const std::vector<Token> eleven(12, 1), thirteen(13, 1);
  EXPECT_THAT(GptObjective::create(model, eleven, 12, 1, 1, 1).status().message(), testing::HasSubstr("has 12 tokens"));
  EXPECT_EQ(GptObjective::create(model, thirteen, 12, 1, 1, 1).value().examples(), 1u);
}

}  // namespace
}  // namespace freshet::worker
