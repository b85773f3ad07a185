#include "kernels/dot_interaction.h"

#include <gtest/gtest.h>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

class DotInteraction : public testing::TestWithParam<DotShape> {
 protected:
  const DotShape s_ = GetParam();
  std::vector<float> x_ = random_values(s_.rows * s_.x_stride, "x");
  std::vector<float> dout_ = random_values(s_.rows * s_.out_stride, "dout");
};

TEST_P(DotInteraction, AgreesWithTheReferenceAndTouchesNothingElse) {
  std::vector<float> out(s_.rows * s_.out_stride, -7), expected = out, again = out;
  dot_interaction_forward(s_, x_.data(), out.data());
  dot_interaction_forward(s_, x_.data(), again.data());
  expect_same_bits(again, out);
  ref::dot_interaction_forward(s_, x_.data(), expected.data());
  // A running sum of `dim` products below 1.
  expect_close(out, expected, std::pow(static_cast<double>(s_.dim), 1.5) * kRounding);
  for (size_t r = 0; r < s_.rows; ++r) {
    for (size_t c = s_.pairs(); c < s_.out_stride; ++c) ASSERT_EQ(out[r * s_.out_stride + c], -7) << r << ", " << c;
  }
}

TEST_P(DotInteraction, GradientAgreesWithTheReferenceAndTouchesNothingElse) {
  std::vector<float> dx(s_.rows * s_.x_stride, -7), expected = dx;
  dot_interaction_gradient(s_, x_.data(), dout_.data(), dx.data());
  ref::dot_interaction_gradient(s_, x_.data(), dout_.data(), expected.data());
  expect_close(dx, expected, std::pow(static_cast<double>(s_.vectors), 1.5) * kRounding);
  for (size_t r = 0; r < s_.rows; ++r) {
    for (size_t c = s_.vectors * s_.dim; c < s_.x_stride; ++c) ASSERT_EQ(dx[r * s_.x_stride + c], -7) << r;
  }
}

// Linear in each vector: a difference over any step is the gradient but for rounding.
TEST_P(DotInteraction, GradientAgreesWithFiniteDifferences) {
  const size_t width = s_.vectors * s_.dim;
  std::vector<float> x(x_.begin(), x_.begin() + static_cast<ptrdiff_t>(width)), dx(x.size());
  DotShape one = s_;
  one.rows = 1;
  one.x_stride = width;
  dot_interaction_gradient(one, x.data(), dout_.data(), dx.data());
  auto value = [&] {
    std::vector<float> out(one.out_stride);
    dot_interaction_forward(one, x.data(), out.data());
    double sum = 0;
    for (size_t p = 0; p < one.pairs(); ++p) sum += static_cast<double>(out[p]) * static_cast<double>(dout_[p]);
    return sum;
  };
  // Up to 128 products of 17 terms; rounded once each, over a step of 1.
  expect_finite_differences(value, x, dx, 0.5F, 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Shapes, DotInteraction,
                         testing::Values(DotShape{1, 2, 1, 2, 1}, DotShape{5, 3, 7, 21, 3},
                                         DotShape{9, 27, 16, 435, 370}, DotShape{3, 17, 16, 272, 136},
                                         DotShape{3, 18, 33, 600, 153}, DotShape{2, 128, 5, 640, 8128},
                                         DotShape{4, 33, 40, 1320, 528}));

TEST(DotInteractionEdges, FewerThanTwoVectorsHaveNoPair) {
  std::vector<float> x = {1, 2}, out = {-7}, dx = {-7, -7};
  const DotShape shape{1, 1, 2, 2, 1};
  EXPECT_EQ(shape.pairs(), 0U);
  dot_interaction_forward(shape, x.data(), out.data());
  dot_interaction_gradient(shape, x.data(), out.data(), dx.data());
  EXPECT_EQ(out[0], -7);
  EXPECT_EQ(dx, (std::vector<float>{0, 0}));
}

}  // namespace
}  // namespace freshet::kernels
