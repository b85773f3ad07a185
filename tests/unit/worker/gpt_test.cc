#include "worker/model/gpt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/random.h"

namespace freshet::worker {
namespace {

using Style = GptConfig::Style;

GptConfig tiny(Style style) {
  GptConfig config;
  config.style = style;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = style == Style::kLlama ? 2 : 4;
  config.width = 32;
  config.feed_forward = 80;
  config.context = 24;
  config.vocabulary = 61;
  return config;
}

struct Tokens {
  Tokens(const GptConfig& config, size_t sequence_count, size_t sequence_length)
      : sequences(sequence_count), length(sequence_length) {
    Philox philox(5, stream_of("tokens"));
    for (size_t i = 0; i < sequences * length; ++i) {
      tokens.push_back(static_cast<int32_t>(philox.below(2 * i, config.vocabulary)));
      targets.push_back(static_cast<int32_t>(philox.below(2 * i + 1, config.vocabulary)));
    }
    targets[length / 2] = -1;
  }
  GptBatch batch() const {
    GptBatch b;
    b.sequences = sequences;
    b.length = length;
    b.tokens = tokens.data();
    b.targets = targets.data();
    return b;
  }
  size_t sequences, length;
  std::vector<int32_t> tokens, targets;
};

struct Pass {
  double loss = 0;
  std::vector<float> gradient;
};

// Larger than at the start of a training, so that no part of the model is nearly linear.
std::vector<float> weights_of(const GptModel& model) {
  std::vector<float> weights(model.parameters());
  model.initialise(11, weights.data());
  Philox philox(3, stream_of("wider"));
  for (size_t i = 0; i < weights.size(); ++i) weights[i] += 0.3F * static_cast<float>(philox.uniform(i) - 0.5);
  return weights;
}

Pass forward_backward(const GptModel& model, const GptBatch& batch, const std::vector<float>& weights,
                      unsigned threads = 1, float scale = 1) {
  ThreadPool pool(threads);
  GptModel::Workspace workspace(model, batch.rows(), true);
  std::vector<uint16_t> rounded(weights.size());
  model.round_parameters(weights.data(), rounded.data(), &pool);
  Pass pass;
  pass.gradient.assign(weights.size(), std::nanf(""));
  auto loss =
      model.forward_backward(batch, scale, {weights.data(), rounded.data()}, pass.gradient.data(), &pool, &workspace);
  EXPECT_TRUE(loss.is_ok()) << loss.status().to_string();
  pass.loss = loss.is_ok() ? *loss : NAN;
  return pass;
}

struct Case {
  Style style;
  bool tied;
  float dropout;
};

class Gpt : public testing::TestWithParam<Case> {
 protected:
  static GptConfig config() {
    auto config = tiny(GetParam().style);
    config.tied = GetParam().tied;
    config.dropout = GetParam().dropout;
    return config;
  }
};

// The derivative along each tensor's own gradient, and at some single elements.
void expect_finite_differences(const GptModel& model, const GptBatch& batch) {
  auto weights = weights_of(model);
  auto pass = forward_backward(model, batch, weights);
  ASSERT_TRUE(std::isfinite(pass.loss));
  auto loss_at = [&](auto change) {
    auto moved = weights;
    change(moved);
    return forward_backward(model, batch, moved).loss;
  };
  for (const auto& tensor : model.tensors()) {
    double square = 0;
    for (size_t i = 0; i < tensor.size; ++i) {
      auto g = static_cast<double>(pass.gradient[tensor.offset + i]);
      ASSERT_TRUE(std::isfinite(g)) << tensor.name << " element " << i;
      square += g * g;
    }
    ASSERT_GT(square, 1e-6) << tensor.name;
    // The loss is of the order of 1000 and right to about 1e-4: so is a change of it by 0.1, to 0.2 per cent.
    const double step = 0.05 / square;
    auto move = [&](double by) {
      return loss_at([&](std::vector<float>& w) {
        for (size_t i = tensor.offset; i < tensor.offset + tensor.size; ++i) {
          w[i] += static_cast<float>(by * static_cast<double>(pass.gradient[i]));
        }
      });
    };
    EXPECT_NEAR((move(step) - move(-step)) / (2 * step * square), 1, 0.02) << tensor.name;
    for (size_t i = 1; i < tensor.size; i += tensor.size / 2 + 1) {
      auto at = [&](float by) { return loss_at([&](std::vector<float>& w) { w[tensor.offset + i] += by; }); };
      EXPECT_NEAR((at(0x1p-7F) - at(-0x1p-7F)) * 64, static_cast<double>(pass.gradient[tensor.offset + i]),
                  0.02 * std::sqrt(square) + 0.01)
          << tensor.name << " element " << i;
    }
  }
}

TEST_P(Gpt, GradientsAgreeWithFiniteDifferences) {
  auto model = GptModel::create(config());
  ASSERT_TRUE(model.is_ok());
  Tokens tokens(config(), 3, 17);
  expect_finite_differences(*model, tokens.batch());
}

// More rows than a chunk of the head holds, and a vocabulary of more blocks than there are groups of them.
TEST(GptHead, GradientsOfChunksAndGroupsAddUp) {
  auto c = tiny(Style::kGpt2);
  c.layers = 1;
  c.width = 16;
  c.feed_forward = 32;
  c.vocabulary = 9300;
  auto model = GptModel::create(c);
  ASSERT_TRUE(model.is_ok());
  Tokens tokens(c, 13, 21);
  expect_finite_differences(*model, tokens.batch());
}

TEST_P(Gpt, GivesTheSameBitsForAnyNumberOfThreads) {
  auto c = config();
  c.vocabulary = 1100;  // three blocks of the head
  c.width = 64;
  c.feed_forward = 300;
  for (auto compute : {GptConfig::Compute::kFloat32, GptConfig::Compute::kBfloat16}) {
    c.compute = compute;
    auto model = GptModel::create(c);
    ASSERT_TRUE(model.is_ok());
    Tokens tokens(c, 13, 21);  // more rows than a chunk of the head
    auto weights = weights_of(*model);
    auto expected = forward_backward(*model, tokens.batch(), weights);
    for (unsigned threads : {1, 2, 3, 4, 8}) {
      auto pass = forward_backward(*model, tokens.batch(), weights, threads);
      EXPECT_EQ(pass.loss, expected.loss) << threads;
      EXPECT_EQ(pass.gradient, expected.gradient) << threads;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Gpt,
                         testing::Values(Case{Style::kGpt2, true, 0}, Case{Style::kGpt2, true, 0.2F},
                                         Case{Style::kLlama, false, 0}, Case{Style::kLlama, true, 0.2F}),
                         [](const auto& test) {
                           return std::string(test.param.style == Style::kGpt2 ? "Gpt2" : "Llama") +
                                  (test.param.tied ? "Tied" : "Untied") + (test.param.dropout > 0 ? "Dropout" : "");
                         });

// The gradient of the whole is the sum of its sequences': nothing leaks from one to another, and the head forgets none
// of the chunks of rows that it goes through.
TEST(GptBatches, SequencesAreApart) {
  auto c = tiny(Style::kLlama);
  c.dropout = 0.1F;
  auto model = GptModel::create(c);
  Tokens tokens(c, 25, 11);
  auto weights = weights_of(*model);
  auto whole = forward_backward(*model, tokens.batch(), weights);
  double loss = 0;
  std::vector<double> sum(weights.size());
  for (size_t s = 0; s < 25; ++s) {
    auto batch = tokens.batch();
    batch.tokens += s * 11;
    batch.targets += s * 11;
    batch.sequences = 1;
    batch.first_sequence = s;
    auto part = forward_backward(*model, batch, weights);
    loss += part.loss;
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(part.gradient[i]);
  }
  EXPECT_NEAR(whole.loss, loss, 1e-4);
  for (size_t i = 0; i < sum.size(); ++i) ASSERT_NEAR(static_cast<double>(whole.gradient[i]), sum[i], 1e-3) << i;
}

TEST(GptBatches, ScaleMultipliesTheGradientOnly) {
  auto c = tiny(Style::kGpt2);
  auto model = GptModel::create(c);
  Tokens tokens(c, 2, 9);
  auto weights = weights_of(*model);
  auto one = forward_backward(*model, tokens.batch(), weights),
       half = forward_backward(*model, tokens.batch(), weights, 1, 0.5F);
  EXPECT_EQ(one.loss, half.loss);
  for (size_t i = 0; i < weights.size(); ++i) ASSERT_EQ(one.gradient[i] * 0.5F, half.gradient[i]) << i;
}

TEST(GptBatches, DropoutFollowsSeedAndStepAndIsOffInEvaluation) {
  auto c = tiny(Style::kGpt2);
  c.dropout = 0.3F;
  auto model = GptModel::create(c);
  Tokens tokens(c, 2, 9);
  auto weights = weights_of(*model);
  std::set<double> losses;
  for (uint64_t seed : {1, 2}) {
    for (uint64_t step : {1, 2}) {
      auto batch = tokens.batch();
      batch.dropout_seed = seed;
      batch.dropout_step = step;
      losses.insert(forward_backward(*model, batch, weights).loss);
    }
  }
  EXPECT_EQ(losses.size(), 4U);

  c.dropout = 0;
  auto plain = GptModel::create(c);
  ThreadPool pool(1);
  GptModel::Workspace workspace(*model, 18, false);
  auto loss = model->loss(tokens.batch(), {weights.data()}, &pool, &workspace);
  ASSERT_TRUE(loss.is_ok());
  EXPECT_EQ(*loss, forward_backward(*plain, tokens.batch(), weights).loss);
}

// The last token's logits explain the loss at the last token.
TEST(GptLogits, AreThoseOfTheLoss) {
  for (auto style : {Style::kGpt2, Style::kLlama}) {
    auto c = tiny(style);
    auto model = GptModel::create(c);
    Tokens tokens(c, 2, 9);
    std::fill(tokens.targets.begin(), tokens.targets.end(), -1);
    tokens.targets[8] = 7;
    tokens.targets[17] = 9;
    auto weights = weights_of(*model);
    ThreadPool pool(2);
    GptModel::Workspace workspace(*model, 18, false);
    std::vector<float> logits(2 * c.vocabulary);
    ASSERT_TRUE(model->next_token_logits(tokens.batch(), {weights.data()}, logits.data(), &pool, &workspace).is_ok());
    double expected = 0;
    for (size_t s = 0; s < 2; ++s) {
      double sum = 0;
      for (size_t v = 0; v < c.vocabulary; ++v) sum += std::exp(static_cast<double>(logits[s * c.vocabulary + v]));
      expected += std::log(sum) - static_cast<double>(logits[s * c.vocabulary + (s == 0 ? 7 : 9)]);
    }
    auto loss = model->loss(tokens.batch(), {weights.data()}, &pool, &workspace);
    ASSERT_TRUE(loss.is_ok());
    EXPECT_NEAR(*loss, expected, 1e-4);
  }
}

TEST(GptLayouts, HaveTheNamesAndShapesOfTheirFamilies) {
  auto gpt2 = GptModel::create(tiny(Style::kGpt2));
  std::vector<std::string> names;
  for (const auto& tensor : gpt2->tensors()) {
    std::string shape;
    for (uint64_t dimension : tensor.shape) shape += " " + std::to_string(dimension);
    names.push_back(tensor.name + shape);
  }
  EXPECT_EQ(names.size(), 2U + 2 * 12 + 2);
  EXPECT_THAT(names,
              testing::IsSupersetOf({"transformer.wte.weight 61 32", "transformer.wpe.weight 24 32",
                                     "transformer.h.0.ln_1.weight 32", "transformer.h.1.ln_2.bias 32",
                                     "transformer.h.0.attn.c_attn.weight 32 96", "transformer.h.1.attn.c_proj.bias 32",
                                     "transformer.h.1.mlp.c_fc.weight 32 80", "transformer.h.0.mlp.c_proj.weight 80 32",
                                     "transformer.ln_f.bias 32"}));
  auto config = tiny(Style::kLlama);
  config.tied = false;
  auto llama = GptModel::create(config);
  names.clear();
  size_t end = 0;
  for (const auto& tensor : llama->tensors()) {
    std::string shape;
    for (uint64_t dimension : tensor.shape) shape += " " + std::to_string(dimension);
    names.push_back(tensor.name + shape);
    EXPECT_EQ(tensor.offset, end);  // no holes: what acts as one product lies together
    end += tensor.size;
  }
  EXPECT_EQ(end, llama->parameters());
  EXPECT_EQ(names.size(), 1U + 2 * 9 + 2);
  EXPECT_THAT(names,
              testing::IsSupersetOf(
                  {"model.embed_tokens.weight 61 32", "model.layers.0.input_layernorm.weight 32",
                   "model.layers.1.self_attn.q_proj.weight 32 32", "model.layers.1.self_attn.k_proj.weight 16 32",
                   "model.layers.0.mlp.down_proj.weight 32 80", "model.norm.weight 32", "lm_head.weight 61 32"}));
}

TEST(GptLayouts, Gpt2SmallHasItsParameters) {
  auto model = GptModel::create({});
  ASSERT_TRUE(model.is_ok());
  EXPECT_EQ(model->parameters(), 124'439'808U);
}

TEST(GptInitialisation, IsAFunctionOfTheSeedWithGpt2sDeviations) {
  auto c = tiny(Style::kGpt2);
  c.width = 128;
  c.vocabulary = 500;
  auto model = GptModel::create(c);
  std::vector<float> a(model->parameters()), b(a), other(a);
  model->initialise(1, a.data());
  model->initialise(1, b.data());
  model->initialise(2, other.data());
  EXPECT_EQ(a, b);
  EXPECT_NE(a, other);
  for (const auto& tensor : model->tensors()) {
    if (tensor.shape.size() == 1) {
      EXPECT_EQ(a[tensor.offset], tensor.name.ends_with("weight") ? 1 : 0) << tensor.name;
      continue;
    }
    double sum = 0, square = 0;
    for (size_t i = 0; i < tensor.size; ++i) {
      auto v = static_cast<double>(a[tensor.offset + i]);
      sum += v;
      square += v * v;
    }
    auto count = static_cast<double>(tensor.size);
    double expected = tensor.name.ends_with("c_proj.weight") ? 0.01 : 0.02;
    EXPECT_NEAR(std::sqrt(square / count) / expected, 1, 5 / std::sqrt(2 * count)) << tensor.name;
    EXPECT_NEAR(sum / count, 0, 5 * expected / std::sqrt(count)) << tensor.name;
  }
}

// Rounding to 8 bits of mantissa changes a loss by a few thousandths, and no more.
TEST(GptBfloat16, StaysCloseToFloat32) {
  for (auto style : {Style::kGpt2, Style::kLlama}) {
    auto c = tiny(style);
    auto exact = GptModel::create(c);
    c.compute = GptConfig::Compute::kBfloat16;
    auto rounded = GptModel::create(c);
    Tokens tokens(c, 3, 17);
    auto weights = weights_of(*exact);
    auto a = forward_backward(*exact, tokens.batch(), weights), b = forward_backward(*rounded, tokens.batch(), weights);
    EXPECT_NE(a.loss, b.loss);
    EXPECT_NEAR(b.loss / a.loss, 1, 0.01);
    double dot = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      auto x = static_cast<double>(a.gradient[i]), y = static_cast<double>(b.gradient[i]);
      dot += x * y;
      aa += x * x;
      bb += y * y;
    }
    EXPECT_GT(dot / std::sqrt(aa * bb), 0.999);
    EXPECT_NEAR(bb / aa, 1, 0.05);
  }
}

TEST(GptRefusals, NameWhatToChange) {
  auto message = [](auto change) {
    auto config = tiny(Style::kGpt2);
    change(config);
    return GptModel::create(config).status().message();
  };
  EXPECT_EQ(message([](auto& c) { c.heads = 5, c.kv_heads = 5; }), "gpt: width 32 is no multiple of heads 5");
  EXPECT_THAT(message([](auto& c) { c.kv_heads = 2; }), testing::HasSubstr("no grouped queries"));
  EXPECT_THAT(message([](auto& c) { c.layers = 0; }), testing::HasSubstr("must be above 0"));
  EXPECT_THAT(message([](auto& c) { c.tied = false; }), testing::HasSubstr("set tied"));
  EXPECT_THAT(message([](auto& c) { c.dropout = 1; }), testing::HasSubstr("dropout"));
  EXPECT_THAT(message([](auto& c) { c.style = Style::kLlama, c.kv_heads = 3; }), testing::HasSubstr("kv_heads 3"));

  auto model = GptModel::create(tiny(Style::kGpt2));
  Tokens tokens(tiny(Style::kGpt2), 1, 25);
  EXPECT_EQ(model->check_batch(tokens.batch()).message(), "a sequence of 25 tokens is longer than the context of 24");
  tokens.length = 5;
  EXPECT_TRUE(model->check_batch(tokens.batch()).is_ok());
  tokens.tokens[3] = 61;
  EXPECT_EQ(model->check_batch(tokens.batch()).message(), "token 61 is not in the vocabulary of 61");
}

}  // namespace
}  // namespace freshet::worker
