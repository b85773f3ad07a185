#include "worker/model/sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace freshet::worker {
namespace {

using testing::HasSubstr;

// How often each token is drawn at so many positions.
std::map<Token, size_t> drawn(const std::vector<float>& logits, const SamplingOptions& options, size_t draws = 20000) {
  std::map<Token, size_t> counts;
  for (size_t i = 0; i < draws; ++i) ++counts[sample_token(logits, options, i)];
  return counts;
}

TEST(Sampling, TemperatureZeroTakesTheLikeliest) {
  SamplingOptions options;
  options.temperature = 0;
  EXPECT_EQ(sample_token(std::vector<float>{0, 3, 1, 3}, options, 9), 1U);
}

TEST(Sampling, DrawsWithTheProbabilitiesOfTheLogits) {
  const std::vector<double> probabilities = {0.5, 0.125, 0.25, 0.125};
  std::vector<float> logits;
  for (double p : probabilities) logits.push_back(static_cast<float>(std::log(p)) + 7);
  SamplingOptions options;
  for (double temperature : {1.0, 0.5}) {
    options.temperature = temperature;
    double sum = 0;
    for (double p : probabilities) sum += std::pow(p, 1 / temperature);
    const auto counts = drawn(logits, options);
    for (const auto& [token, count] : counts) {
      const double expected = std::pow(probabilities[token], 1 / temperature) / sum;
      // Five deviations of a binomial of 20,000 draws.
      EXPECT_NEAR(static_cast<double>(count) / 20000, expected, 5 * std::sqrt(expected / 20000)) << token;
    }
    EXPECT_EQ(counts.size(), 4U);
  }
}

TEST(Sampling, KeepsTheLikeliestOnly) {
  const std::vector<float> logits = {std::log(0.1F), std::log(0.4F), std::log(0.3F), std::log(0.2F)};
  SamplingOptions options;
  options.top_k = 2;
  EXPECT_THAT(drawn(logits, options), testing::ElementsAre(testing::Key(1U), testing::Key(2U)));
  options.top_k = 0;
  options.top_p = 0.65;  // 0.4 is not enough, 0.4 + 0.3 is
  EXPECT_THAT(drawn(logits, options), testing::ElementsAre(testing::Key(1U), testing::Key(2U)));
  options.top_p = 0.01;  // one at least
  EXPECT_THAT(drawn(logits, options), testing::ElementsAre(testing::Key(1U)));
  options.top_k = 9;  // more than there are
  options.top_p = 1;
  EXPECT_EQ(drawn(logits, options).size(), 4U);
}

TEST(Sampling, SeedAndPositionDecide) {
  const std::vector<float> logits(50);
  SamplingOptions one, other;
  other.seed = 1;
  size_t same = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(sample_token(logits, one, i), sample_token(logits, one, i));
    same += sample_token(logits, one, i) == sample_token(logits, other, i) ? 1 : 0;
  }
  EXPECT_LT(same, 60U) << "of 1,000 draws from 50 equal tokens, 20 are expected to agree";
}

TEST(Sampling, OptionsThatMakeNoSenseAreRefused) {
  SamplingOptions options;
  options.temperature = -1;
  EXPECT_THAT(options.check().message(), HasSubstr("temperature"));
  options.temperature = std::nan("");
  EXPECT_THAT(options.check().message(), HasSubstr("temperature"));
  options = {};
  options.top_p = 0;
  EXPECT_THAT(options.check().message(), HasSubstr("top-p"));
}

GptArtifact tiny() {
  v1::GptModel wanted;
  wanted.set_style(v1::GptModel::LLAMA);
  wanted.set_layers(2);
  wanted.set_heads(2);
  wanted.set_width(16);
  wanted.set_context(8);
  GptTokenizer tokenizer(std::nullopt);
  GptModel model = make_gpt(wanted, tokenizer.get().vocabulary_size()).value();
  std::vector<float> parameters(model.parameters());
  model.initialise(3, parameters.data());
  for (float& value : parameters) value *= 8;  // far from even
  return {std::move(tokenizer), std::move(model), std::move(parameters), {}};
}

std::vector<Token> continued(const GptArtifact& artifact, size_t count, unsigned threads, double temperature = 1) {
  SamplingOptions options;
  options.temperature = temperature;
  std::vector<Token> tokens;
  Status status = continue_text(artifact, {256, 72, 105}, count, options, threads, [&](Token token) {
    tokens.push_back(token);
    return Status::ok();
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  return tokens;
}

TEST(Sampling, TextIsTheSameForAnyThreads) {
  const GptArtifact artifact = tiny();
  const auto text = continued(artifact, 20, 1);  // beyond the context of 8
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(continued(artifact, 20, 3), text);
  // A longer one begins with it.
  auto longer = continued(artifact, 30, 2);
  longer.resize(text.size());
  EXPECT_EQ(longer, text);
}

// The model's own likeliest token is what follows greedily.
TEST(Sampling, EachTokenFollowsFromTheTextBeforeIt) {
  const GptArtifact artifact = tiny();
  const auto text = continued(artifact, 4, 1, 0);
  ASSERT_EQ(text.size(), 4U);
  std::vector<int32_t> seen = {256, 72, 105};
  ThreadPool pool(1);
  for (Token token : text) {
    GptModel::Workspace workspace(artifact.model, seen.size(), false);
    GptBatch batch;
    batch.sequences = 1;
    batch.length = seen.size();
    batch.tokens = seen.data();
    std::vector<float> logits(257);
    ASSERT_TRUE(
        artifact.model.next_token_logits(batch, {artifact.parameters.data(), nullptr}, logits.data(), &pool, &workspace)
            .is_ok());
    EXPECT_EQ(std::max_element(logits.begin(), logits.end()) - logits.begin(), static_cast<ptrdiff_t>(token));
    seen.push_back(static_cast<int32_t>(token));
  }
}

TEST(Sampling, EndOfTextEndsIt) {
  GptArtifact artifact = tiny();
  const GptLayout& layout = artifact.model.layout();
  // The output matrix answers the end of text to everything: its row is the only one that is not zero.
  std::fill_n(artifact.parameters.data() + layout.output, size_t{257} * 16, 0.0F);
  std::fill_n(artifact.parameters.data() + layout.output + size_t{256} * 16, 16, 1.0F);
  SamplingOptions options;
  options.temperature = 0;
  size_t count = 0;
  Status status = continue_text(artifact, {256}, 5, options, 1, [&](Token) {
    ++count;
    return Status::ok();
  });
  EXPECT_TRUE(status.is_ok());
  EXPECT_EQ(count, 0U);
}

}  // namespace
}  // namespace freshet::worker
