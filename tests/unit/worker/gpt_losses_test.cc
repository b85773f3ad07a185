// A tiny GPT trained for 200 steps from the weights and on the tokens with which PyTorch's losses were recorded
// (bench/cpu/record_losses.py).
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "kernels/reduce.h"
#include "tests/paths.h"
#include "tests/support/gpt_corpus.h"
#include "worker/checkpoint/tensors.h"
#include "worker/model/gpt.h"
#include "worker/train/flat_update.h"

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
  const size_t count = model->parameters(), stride = kLength + 1;
  std::vector<float> weights(count), gradient(count), m(count), v(count);
  std::vector<double> sums((count + kernels::kBlock - 1) / kernels::kBlock);
  std::vector<uint16_t> rounded(count);
  model->initialise(1, weights.data());
  ThreadPool pool(threads);
  model->round_parameters(weights.data(), rounded.data(), &pool);
  GptModel::Workspace workspace(*model, kSequences * kLength, true);
  auto corpus = gpt_corpus(kSteps * kSequences * stride, c.vocabulary);
  Outcome outcome;
  for (size_t step = 0; step < steps; ++step) {
    std::vector<int32_t> tokens, targets;
    for (size_t s = 0; s < kSequences; ++s) {
      auto from = corpus.begin() + static_cast<ptrdiff_t>((step * kSequences + s) * stride);
      tokens.insert(tokens.end(), from, from + kLength);
      targets.insert(targets.end(), from + 1, from + stride);
    }
    GptBatch batch;
    batch.sequences = kSequences;
    batch.length = kLength;
    batch.tokens = tokens.data();
    batch.targets = targets.data();
    batch.dropout_step = step;
    auto loss = model->forward_backward(batch, 1.0F / (kSequences * kLength), {weights.data(), rounded.data()},
                                        gradient.data(), &pool, &workspace);
    EXPECT_TRUE(loss.is_ok()) << loss.status().to_string();
    if (!loss.is_ok()) return outcome;
    outcome.losses.push_back(*loss / (kSequences * kLength));
    kernels::AdamWStep adamw;
    adamw.learning_rate = 3e-3F;
    adamw.weight_decay = 0.1F;
    adamw.beta2 = 0.95F;
    block_sums_of_squares(count, gradient.data(), sums.data(), &pool);
    adamw.gradient_scale = clipping_factor(norm_of(sums), 1);
    kernels::set_corrections(step + 1, &adamw);
    update_weights(adamw, count, gradient.data(), weights.data(), m.data(), v.data(), rounded.data(), &pool);
  }
  outcome.digest = weights_digest(model->tensors(), weights.data());
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
