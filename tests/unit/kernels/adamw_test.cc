#include "kernels/adamw.h"

#include <gtest/gtest.h>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

struct State {
  std::vector<float> w, m, v;
};

State initial(size_t count) {
  return {random_values(count, "w"), std::vector<float>(count), std::vector<float>(count)};
}

AdamWStep step_at(uint64_t t) {
  AdamWStep step;
  step.learning_rate = 0.01F;
  step.weight_decay = 0.1F;
  step.gradient_scale = 0.5F;
  set_corrections(t, &step);
  return step;
}

class AdamW : public testing::TestWithParam<size_t> {};

TEST_P(AdamW, FollowsTheReference) {
  State s = initial(GetParam()), r = s;
  for (uint64_t t = 1; t <= 20; ++t) {
    auto gradient = random_values(GetParam(), "gradient " + std::to_string(t), 3);
    adamw(step_at(t), GetParam(), gradient.data(), s.w.data(), s.m.data(), s.v.data());
    ref::adamw(step_at(t), GetParam(), gradient.data(), r.w.data(), r.m.data(), r.v.data());
    // An update is at most about 0.01 * (3 + 0.1) and rounds a handful of times; weights below 2 round once a step.
    // Where a second moment nearly cancels nothing: it only grows from squares. Twenty steps of 8 roundings:
    expect_close(s.w, r.w, 20 * 8 * 2 * kRounding);
    expect_close(s.m, r.m, 20 * 4 * kRounding * 3);
    expect_close(s.v, r.v, 20 * 4 * kRounding * 9);
  }
}

TEST_P(AdamW, GivesTheSameBitsForAnySplit) {
  size_t count = GetParam();
  State whole = initial(count), split = whole;
  auto gradient = random_values(count, "gradient");
  adamw(step_at(3), count, gradient.data(), whole.w.data(), whole.m.data(), whole.v.data());
  for (size_t from = 0; from < count;) {
    size_t part = std::min(count - from, 1 + from % 7);
    adamw(step_at(3), part, gradient.data() + from, split.w.data() + from, split.m.data() + from,
          split.v.data() + from);
    from += part;
  }
  expect_same_bits(split.w, whole.w);
  expect_same_bits(split.m, whole.m);
  expect_same_bits(split.v, whole.v);
}

TEST_P(AdamW, RoundsTheNewWeightsOnTheWay) {
  size_t count = GetParam();
  State plain = initial(count), both = plain;
  auto gradient = random_values(count, "gradient");
  std::vector<Bfloat16> rounded(count), expected(count);
  adamw(step_at(3), count, gradient.data(), plain.w.data(), plain.m.data(), plain.v.data());
  adamw_and_round(step_at(3), count, gradient.data(), both.w.data(), both.m.data(), both.v.data(), rounded.data());
  ref::to_bfloat16(1, count, count, plain.w.data(), expected.data());
  expect_same_bits(both.w, plain.w);
  expect_same_bits(both.m, plain.m);
  expect_same_bits(both.v, plain.v);
  EXPECT_EQ(rounded, expected);
}

INSTANTIATE_TEST_SUITE_P(Sizes, AdamW, testing::Values(1, 5, 16, 33, 1000, 4099));

TEST(AdamWEdges, TheFirstStepMovesByTheLearningRate) {
  AdamWStep step;
  set_corrections(1, &step);
  float gradient = -123, w = 1, m = 0, v = 0;
  adamw(step, 1, &gradient, &w, &m, &v);
  EXPECT_NEAR(static_cast<double>(w), 1.001, 1e-6);
}

TEST(AdamWEdges, WeightDecayActsWithoutAGradient) {
  AdamWStep step;
  step.learning_rate = 0.5F;
  step.weight_decay = 0.25F;
  set_corrections(1, &step);
  float gradient = 0, w = 8, m = 0, v = 0;
  adamw(step, 1, &gradient, &w, &m, &v);
  EXPECT_EQ(w, 7);
}

TEST(AdamWEdges, CorrectionsOfLateStepsAreOne) {
  AdamWStep step;
  set_corrections(2, &step);
  EXPECT_NEAR(static_cast<double>(step.correction1), 1 / (1 - 0.81), 1e-5);
  set_corrections(1'000'000, &step);
  EXPECT_EQ(step.correction1, 1);
  EXPECT_EQ(step.correction2, 1);
}

}  // namespace
}  // namespace freshet::kernels
