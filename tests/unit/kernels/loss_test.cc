#include "kernels/loss.h"

#include <gtest/gtest.h>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

using Loss = double (*)(size_t, const float*, const float*, const float*, float, float*);

struct Case {
  const char* name;
  Loss loss;
  Loss reference;
  bool binary;
};

class LossTest : public testing::TestWithParam<std::tuple<Case, size_t, bool>> {
 protected:
  const Case c_ = std::get<0>(GetParam());
  const size_t rows_ = std::get<1>(GetParam());
  // Logits up to 40: sigmoids that round to 0 and 1 are among them.
  std::vector<float> x_ = random_values(rows_, "x", 40);
  std::vector<float> y_ = random_values(rows_, "y", 3);
  std::vector<float> weights_ = random_values(rows_, "weights", 4);
  const float* w_ = std::get<2>(GetParam()) ? weights_.data() : nullptr;

  void SetUp() override {
    if (c_.binary) {
      for (auto& y : y_) y = y > 0 ? 1 : 0;
    }
    for (auto& weight : weights_) weight = std::fabs(weight);
  }
};

TEST_P(LossTest, AgreesWithTheReferenceAndRepeats) {
  std::vector<float> gradient(rows_), again(rows_), expected(rows_);
  float scale = 1.0F / static_cast<float>(rows_);
  double sum = c_.loss(rows_, x_.data(), y_.data(), w_, scale, gradient.data());
  double sum_ref = c_.reference(rows_, x_.data(), y_.data(), w_, scale, expected.data());
  EXPECT_EQ(c_.loss(rows_, x_.data(), y_.data(), w_, scale, again.data()), sum);
  expect_same_bits(again, gradient);
  // Sums are in double: one part in 2^53 a row. Gradients are doubles of at most 400 times scale, rounded to float.
  EXPECT_NEAR(sum, sum_ref, 1e-12 * (1 + sum_ref));
  expect_close(gradient, expected, 400 * kRounding * static_cast<double>(scale));

  auto in_place = x_;
  EXPECT_EQ(c_.loss(rows_, in_place.data(), y_.data(), w_, scale, in_place.data()), sum);
  expect_same_bits(in_place, gradient);
}

TEST_P(LossTest, GradientAgreesWithFiniteDifferences) {
  std::vector<float> gradient(rows_), unused(rows_);
  c_.loss(rows_, x_.data(), y_.data(), w_, 1, gradient.data());
  for (size_t i = 0; i < rows_; i += 1 + rows_ / 50) {
    float x = x_[i], step = 0x1p-8F;
    float high = x + step, low = x - step;
    double above = c_.loss(1, &high, &y_[i], w_ ? w_ + i : nullptr, 1, unused.data());
    double below = c_.loss(1, &low, &y_[i], w_ ? w_ + i : nullptr, 1, unused.data());
    double slope = (above - below) / (static_cast<double>(high) - static_cast<double>(low));
    EXPECT_NEAR(slope, static_cast<double>(gradient[i]), 1e-5 * (1 + std::fabs(slope))) << "x = " << x;
  }
}

INSTANTIATE_TEST_SUITE_P(Losses, LossTest,
                         testing::Combine(testing::Values(Case{"bce", bce_with_logits, ref::bce_with_logits, true},
                                                          Case{"mse", squared_error, ref::squared_error, false}),
                                          testing::Values(1, 7, 512, 1001), testing::Bool()),
                         [](const auto& test) {
                           return std::get<0>(test.param).name + std::to_string(std::get<1>(test.param)) +
                                  (std::get<2>(test.param) ? "weighted" : "");
                         });

TEST(BceEdges, ExtremeLogitsAreFinite) {
  std::vector<float> x = {-3e38F, 3e38F, -3e38F, 3e38F}, y = {0, 1, 1, 0}, gradient(4);
  double sum = bce_with_logits(4, x.data(), y.data(), nullptr, 1, gradient.data());
  EXPECT_DOUBLE_EQ(sum, 2 * static_cast<double>(3e38F));
  EXPECT_EQ(gradient, (std::vector<float>{0, 0, -1, 1}));
}

}  // namespace
}  // namespace freshet::kernels
