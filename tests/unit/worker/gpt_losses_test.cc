// A tiny GPT trained for 200 steps from the weights and on the tokens with which PyTorch's losses were recorded
// (bench/cpu/record_losses.py).
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "tests/paths.h"
#include "tests/support/gpt_corpus.h"
#include "worker/checkpoint/tensors.h"
#include "worker/model/gpt.h"
#include "worker/train/gpt_objective.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

constexpr size_t kSteps = 200, kSequences = 4, kLength = 24;
constexpr const char* kConfig =
    "layers=2 heads=4 width=32 context=32 vocabulary=65 batch=4 length=24 learning_rate=0.003 weight_decay=0.1 "
    "clip_norm=1";

GptConfig config() {
  GptConfig config;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 4;
  config.width = 32;
  config.feed_forward = 128;
  config.context = 32;
  config.vocabulary = 65;
  return config;
}

struct Outcome {
  std::vector<double> losses;
  std::string digest;
};

Outcome train(const GptConfig& c, unsigned threads, size_t steps) {
  auto model = GptModel::create(c);
  TrainOptions options;
  options.seed = 1;
  options.micro_batch_rows = kSequences;
  options.micro_batches = 1;
  options.learning_rate = 3e-3;
  options.weight_decay = 0.1;
  options.beta2 = 0.95;
  options.clip_norm = 1;
  std::vector<float> weights(model->parameters());
  model->initialise(options.seed, weights.data());
  const auto corpus = gpt_corpus(kSteps * kSequences * kLength + 1, c.vocabulary);
  const std::vector<Token> tokens(corpus.begin(), corpus.end());
  SingleCommunicator comm;
  ThreadPool pool(threads);
  auto objective = GptObjective::create(*model, tokens, kLength, kSequences, options.seed, threads);
  auto trainer = Trainer::create(&*objective, options, &comm, &pool, std::move(weights));
  Outcome outcome;
  Status status = trainer->run([&](const StepResult& step) {
    outcome.losses.push_back(step.loss);
    return step.step == steps ? cancelled("enough") : Status::ok();
  });
  EXPECT_EQ(status.code(), Code::kCancelled) << status.to_string();
  outcome.digest = weights_digest(model->tensors(), trainer->take_parameters()->data());
  return outcome;
}

TEST(GptLosses, AreThoseOfPyTorchToAThousandth) {
  const std::string path = std::string(FRESHET_TEST_DATA) + "/losses/gpt2_torch.txt";
  std::ifstream file(path);
  std::string version, settings;
  std::getline(file, version);
  std::getline(file, settings);
  ASSERT_EQ(settings, kConfig) << path;
  std::vector<double> theirs;
  for (double loss = 0; file >> loss;) theirs.push_back(loss);
  ASSERT_EQ(theirs.size(), kSteps);
  auto ours = train(config(), 2, kSteps);
  ASSERT_EQ(ours.losses.size(), kSteps);
  double worst = 0;
  for (size_t i = 0; i < kSteps; ++i) {
    double apart = std::fabs(ours.losses[i] / theirs[i] - 1);
    worst = std::max(worst, apart);
    EXPECT_LT(apart, 1e-3) << "step " << i + 1 << ": ours " << ours.losses[i] << ", theirs " << theirs[i];
  }
  std::printf("%s: %.4f to %.4f, at most %.1e apart\n", version.c_str(), theirs.front(), theirs.back(), worst);
  EXPECT_LT(theirs.back(), 0.7 * theirs.front());  // something was learnt
}

TEST(GptLosses, WeightsAreTheSameBitsOnAnyThreads) {
  for (auto compute : {GptConfig::Compute::kFloat32, GptConfig::Compute::kBfloat16}) {
    auto c = config();
    c.compute = compute;
    c.dropout = 0.1F;
    auto expected = train(c, 1, 20);
    for (unsigned threads : {2, 3, 4, 8}) {
      auto outcome = train(c, threads, 20);
      EXPECT_EQ(outcome.losses, expected.losses) << threads;
      EXPECT_EQ(outcome.digest, expected.digest) << threads;
    }
  }
}

}  // namespace
}  // namespace freshet::worker
