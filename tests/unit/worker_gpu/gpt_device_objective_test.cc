#include "worker/gpu/gpt_device_objective.h"

#include <gmock/gmock.h>

#include "tests/unit/worker_gpu/gpt_device_support.h"
#include "worker/train/gpt_objective.h"

namespace freshet::worker {
namespace {

constexpr GptDeviceShape kShape{3, 20};
constexpr uint64_t kSeed = 9;

std::vector<Token> some_text(const GptConfig& config, size_t count) {
  Philox philox(8, stream_of("text"));
  std::vector<Token> text;
  for (size_t i = 0; i < count; ++i) text.push_back(static_cast<Token>(philox.below(i, config.vocabulary)));
  return text;
}

class GptDeviceObjectiveTest : public cuda::CudaTest {
 protected:
  GptPassResult forward_backward(GptDeviceObjective* objective, const MicroBatch& batch, float scale,
                                 const std::vector<float>& weights) {
    std::vector<std::byte> filled(objective->input_bytes(), std::byte{0xFF});
    EXPECT_OK(objective->fill_input(batch, scale, filled.data()));
    Array<std::byte> input(filled);
    Array<kernels::Bfloat16> rounded(cuda::narrowed(weights));
    Array<float> gradient(objective->parameters());
    Array<double> loss(1);
    EXPECT_OK(
        objective->forward_backward(input.data(), rounded.data(), gradient.data(), loss.data(), &stream_.value(), {}));
    expect_done();
    return {loss.values()[0], gradient.values()};
  }
};

TEST_F(GptDeviceObjectiveTest, HasTheLossesAndGradientsOfTheCpus) {
  for (auto style : {Style::kGpt2, Style::kLlama}) {
    auto config = tiny_gpt(style);
    config.dropout = 0.1F;
    const auto model = model_of(config);
    const auto weights = weights_of(model);
    const auto text = some_text(config, 12 * kShape.length + 1);
    auto on_cpu = GptObjective::create(model, text, kShape.length, kShape.sequences, kSeed, 1);
    ASSERT_TRUE(on_cpu.is_ok());
    auto objective = GptDeviceObjective::create(model, text, kShape, kSeed);
    ASSERT_TRUE(objective.is_ok()) << objective.status().to_string();
    EXPECT_EQ((*objective)->examples(), on_cpu->examples());
    EXPECT_EQ((*objective)->parameters(), on_cpu->parameters());
    ThreadPool pool(1);
    // A whole micro-batch, and one with fewer examples.
    for (const std::vector<uint32_t>& examples : {std::vector<uint32_t>{7, 2, 11}, std::vector<uint32_t>{0}}) {
      const MicroBatch batch{examples, 5, 4, &pool};
      GptPassResult expected;
      expected.gradient.resize(weights.size());
      auto loss = on_cpu->forward_backward(batch, 0.5F, weights.data(), expected.gradient.data(), 0);
      ASSERT_TRUE(loss.is_ok());
      const auto pass = forward_backward(objective->get(), batch, 0.5F, weights);
      EXPECT_NEAR(pass.loss / *loss, 1, 2e-3);
      expect_close_gradients(model, pass, expected);
    }
  }
}

TEST_F(GptDeviceObjectiveTest, NoExamplesAreNoLossAndNoGradient) {
  const auto config = tiny_gpt(Style::kGpt2);
  const auto model = model_of(config);
  const auto text = some_text(config, 100);
  auto objective = GptDeviceObjective::create(model, text, kShape, kSeed);
  ASSERT_TRUE(objective.is_ok());
  const auto pass = forward_backward(objective->get(), {{}, 1, 0, nullptr}, 1, weights_of(model));
  EXPECT_EQ(pass.loss, 0);
  EXPECT_THAT(pass.gradient, testing::Each(0));
}

TEST_F(GptDeviceObjectiveTest, RefusesWhatDoesNotFit) {
  const auto config = tiny_gpt(Style::kGpt2);
  const auto model = model_of(config);
  const auto little = some_text(config, kShape.length), text = some_text(config, 100);
  EXPECT_THAT(GptDeviceObjective::create(model, little, kShape, kSeed).status().message(),
              testing::HasSubstr("has 20 tokens, and a sequence takes 21"));
  auto objective = GptDeviceObjective::create(model, text, kShape, kSeed);
  ASSERT_TRUE(objective.is_ok());
  const std::vector<uint32_t> examples{0, 1, 2, 3};
  std::vector<std::byte> input((*objective)->input_bytes());
  EXPECT_EQ((*objective)->fill_input({examples, 1, 0, nullptr}, 1, input.data()).code(), Code::kInternal);
}

}  // namespace
}  // namespace freshet::worker
