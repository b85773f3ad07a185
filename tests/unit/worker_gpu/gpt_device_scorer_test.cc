#include "worker/gpu/gpt_device_scorer.h"

#include <gmock/gmock.h>

#include "tests/unit/worker_gpu/gpt_device_support.h"
#include "worker/gpu/gpt_device_products.h"

namespace freshet::worker {
namespace {

using testing::HasSubstr;

class GptDeviceScorerTest : public cuda::CudaTest {
 protected:
  static std::unique_ptr<GptDeviceScorer> scorer(const GptModel& model, const std::vector<float>& weights,
                                                 size_t sequences, const cuda::ProductTable& products = {}) {
    auto made = GptDeviceScorer::create(model, {sequences, model.config().context}, weights, products);
    CHECK_MSG(made.is_ok(), made.status().to_string());
    return *std::move(made);
  }

  static std::vector<Token> text(const GptConfig& config, size_t tokens) {
    std::vector<Token> made;
    Philox philox(7, stream_of("text"));
    for (size_t i = 0; i < tokens; ++i) made.push_back(static_cast<Token>(philox.below(i, config.vocabulary)));
    return made;
  }

  static double nats(TextScorer* scorer, std::span<const Token> text) {
    auto sum = scorer->nats(text);
    CHECK_MSG(sum.is_ok(), sum.status().to_string());
    return *sum;
  }
};

constexpr size_t kContext = 20;
constexpr size_t kSequences = 2;
constexpr size_t kPass = kSequences * kContext;  // tokens
// Nothing, no token to predict, one; about a sequence's end; about a pass's end; several passes and a piece.
constexpr size_t kLengths[] = {
    0, 1, 2, kContext, kContext + 1, kContext + 2, kPass + 1, kPass + 2, 3 * kPass + kContext + 8};

GptConfig short_gpt(Style style) {
  auto config = tiny_gpt(style);
  config.context = kContext;
  config.dropout = 0.25F;
  return config;
}

// A token's loss is off by the rounding of its two logits (the target's and the sum's), at most 2^-8 of their
// magnitude, which here is below 8, and by what the layers before have rounded: as much again. Errors of tokens are
// independent.
double tolerance(size_t predicted) { return 2 * 8 * cuda::kRounding16 * std::sqrt(static_cast<double>(predicted)); }

TEST_F(GptDeviceScorerTest, LossesAreThoseOfTheCpu) {
  for (auto style : {Style::kGpt2, Style::kLlama}) {
    const auto model = model_of(short_gpt(style));
    const auto weights = weights_of(model);
    const auto on_device = scorer(model, weights, kSequences);
    CpuTextScorer on_cpu(model, weights, 1);
    for (const size_t length : kLengths) {
      const auto tokens = text(model.config(), length);
      const size_t predicted = length == 0 ? 0 : length - 1;
      const double expected = nats(&on_cpu, tokens), actual = nats(on_device.get(), tokens);
      EXPECT_NEAR(actual, expected, tolerance(predicted)) << length;
      EXPECT_GE(actual, static_cast<double>(predicted)) << "a token's loss is about log(101)";
    }
  }
}

// Products here are loops over a row; on a GPU another number of sequences may take another algorithm.
TEST_F(GptDeviceScorerTest, GivesTheSameBitsWhateverIsScoredBesideAndHoweverItIsSplit) {
  const auto model = model_of(short_gpt(Style::kLlama));
  const auto weights = weights_of(model);
  const auto one = scorer(model, weights, kSequences), wider = scorer(model, weights, 3);
  const bool is_emulated = cuda::device_properties().value().is_emulated;
  std::vector<double> first;
  for (const size_t length : kLengths) first.push_back(nats(one.get(), text(model.config(), length)));
  for (size_t i = std::size(kLengths); i-- > 0;) {
    const auto tokens = text(model.config(), kLengths[i]);
    EXPECT_EQ(nats(one.get(), tokens), first[i]) << kLengths[i];
    EXPECT_NEAR(nats(wider.get(), tokens), first[i], is_emulated ? 0 : tolerance(kLengths[i])) << kLengths[i];
  }
}

TEST_F(GptDeviceScorerTest, TakesTheTablesAlgorithmsAndFirstProposalsForTheRest) {
  auto config = short_gpt(Style::kGpt2);
  config.layers = 1;
  const auto model = model_of(config);
  const auto weights = weights_of(model);
  const auto tokens = text(config, 70);
  const auto plan = plan_gpt_device(config, {kSequences, kContext}, {.training = false});
  ASSERT_TRUE(plan.is_ok());
  auto table = cuda::tune_products(gpt_device_products(config, *plan));
  ASSERT_TRUE(table.is_ok()) << table.status().to_string();
  const double untuned = nats(scorer(model, weights, kSequences).get(), tokens);
  EXPECT_NEAR(nats(scorer(model, weights, kSequences, *table).get(), tokens), untuned, tolerance(tokens.size()));
  table->entries.erase(table->entries.begin(), table->entries.end() - 1);
  EXPECT_NEAR(nats(scorer(model, weights, kSequences, *table).get(), tokens), untuned, tolerance(tokens.size()));
}

TEST_F(GptDeviceScorerTest, RefusesATokenThatIsNotInTheVocabulary) {
  const auto model = model_of(short_gpt(Style::kGpt2));
  const auto made = scorer(model, weights_of(model), 1);
  const std::vector<Token> tokens{3, 4, 101, 5};
  EXPECT_THAT(made->nats(tokens).status().message(), HasSubstr("101 is not in the vocabulary of 101"));
  EXPECT_TRUE(made->nats(std::span(tokens).first(2)).is_ok());
}

TEST(GptScoringPlan, IsOfWholeContextsAndHoldsNoGradients) {
  auto config = tiny_gpt(Style::kGpt2);
  for (const auto& [context, sequences] : {std::pair{16U, 8U}, {1024U, 8U}, {1025U, 7U}, {5000U, 1U}, {100000U, 1U}}) {
    config.context = context;
    EXPECT_EQ(gpt_scoring_shape(config).sequences, sequences);
    EXPECT_EQ(gpt_scoring_shape(config).length, context);
    const auto plan = plan_gpt_scoring(config).value();
    EXPECT_EQ(plan.layers.size(), 1U);
    EXPECT_LT(plan.bytes, plan_gpt_device(config, gpt_scoring_shape(config), {}).value().bytes);
  }
}

}  // namespace
}  // namespace freshet::worker
