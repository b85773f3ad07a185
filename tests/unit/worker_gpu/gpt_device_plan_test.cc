#include "worker/gpu/gpt_device_plan.h"

#include <gmock/gmock.h>

#include "tests/unit/worker_gpu/gpt_device_support.h"
#include "worker/gpu/gpt_device_products.h"

namespace freshet::worker {
namespace {

constexpr GptDeviceShape kShape{64, 1024};

GptDevicePlan plan(const GptConfig& config, const GptDeviceShape& shape, const GptDeviceOptions& options = {}) {
  auto made = plan_gpt_device(config, shape, options);
  CHECK_MSG(made.is_ok(), made.status().to_string());
  return *made;
}

// Of GPT-2's smallest, in units of one [rows][width] matrix of bfloat16.
double units(const GptDeviceOptions& options) {
  return static_cast<double>(plan({}, kShape, options).bytes) / static_cast<double>(kShape.rows() * 768 * 2);
}

TEST(GptDevicePlan, KeepsWhatItsLevelSays) {
  // A layer keeps its input, the middle of the residual stream, what attention left and three of qkv (6), four of what
  // goes into the activation (10), and as much as comes out of it (14), and what left two norms (16). Beside the twelve
  // of them there is a handful of gradients; nothing holds all logits (65.5).
  EXPECT_NEAR(units({Recompute::kNothing}), 12 * 16 + 12, 6);
  EXPECT_NEAR(units({Recompute::kActivations}), 12 * 12 + 12, 6);
  EXPECT_NEAR(units({Recompute::kNorms}), 12 * 10 + 12, 6);
  EXPECT_NEAR(units({Recompute::kLayers}), 12 * 1 + 27, 6);
  EXPECT_LT(units({.training = false}), 25);
}

TEST(GptDevicePlan, IsCloseToTheLeast) {
  for (auto style : {Style::kGpt2, Style::kLlama}) {
    for (auto level : {Recompute::kNothing, Recompute::kActivations, Recompute::kNorms, Recompute::kLayers}) {
      GptConfig config;
      config.style = style;
      const auto made = plan(config, kShape, {level});
      EXPECT_GE(made.bytes, made.bytes_least);
      EXPECT_LT(static_cast<double>(made.bytes), 1.03 * static_cast<double>(made.bytes_least))
          << static_cast<int>(level);
    }
  }
}

TEST(GptDevicePlan, ChunksOfTheHeadFollowTheConfigurationOnly) {
  const auto large = plan({}, kShape), small = plan({}, {2, 100});
  EXPECT_EQ(large.logits_stride, 50304U);
  EXPECT_EQ(large.head_rows, 8192U);
  EXPECT_EQ(small.head_rows, 200U);
}

TEST(GptDevicePlan, NamesWhatTheDeviceCannotTake) {
  auto message = [](auto change) {
    auto config = tiny_gpt(Style::kGpt2);
    GptDeviceShape shape{2, 10};
    change(config, shape);
    return plan_gpt_device(config, shape, {}).status().message();
  };
  EXPECT_EQ(message([](auto&, auto&) {}), "");
  EXPECT_THAT(message([](auto& c, auto&) { c.width = 132; }), testing::HasSubstr("width 132 is no multiple of 8"));
  EXPECT_THAT(message([](auto& c, auto&) { c.feed_forward = 201; }), testing::HasSubstr("feed_forward 201 is no"));
  EXPECT_THAT(message([](auto& c, auto&) { c.heads = c.kv_heads = 4; }),
              testing::HasSubstr("heads are of 32 elements"));
  EXPECT_THAT(message([](auto&, auto& s) { s.length = 49; }), testing::HasSubstr("longer than the context of 48"));
  EXPECT_THAT(message([](auto&, auto& s) { s.sequences = 0; }), testing::HasSubstr("needs a sequence"));
  EXPECT_THAT(plan_gpt_device(tiny_gpt(Style::kGpt2), {2, 16}, {.float8 = true}).status().message(),
              testing::HasSubstr("8-bit floats want width, feed_forward"));
  EXPECT_THAT(message([](auto& c, auto&) { c.layers = 0; }), testing::HasSubstr("must be above 0"));
}

TEST(GptDeviceProducts, AreThoseOfOneLayerAndTheHead) {
  // Of a layer's four matrices the forward product and two gradients; of the head's chunks the same, where the first
  // overwrites the weights' gradient and the others add to it; and the one for a next token.
  EXPECT_EQ(gpt_device_products({}, plan({}, kShape)).size(), 12U + 4 + 1);
  EXPECT_EQ(gpt_device_products({}, plan({}, kShape, {.training = false})).size(), 4U + 1 + 1);
}

}  // namespace
}  // namespace freshet::worker
