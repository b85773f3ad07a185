#include "kernels/cross_layer.h"

#include <gtest/gtest.h>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

struct Shape {
  size_t rows, width;
};

class CrossLayer : public testing::TestWithParam<Shape> {
 protected:
  const Shape s_ = GetParam();
  const size_t count_ = s_.rows * s_.width;
  std::vector<float> x0_ = random_values(count_, "x0"), x_ = random_values(count_, "x"),
                     wx_ = random_values(count_, "wx");
  std::vector<float> bias_ = random_values(s_.width, "bias"), dy_ = random_values(count_, "dy");
};

TEST_P(CrossLayer, ForwardAgreesWithTheReferenceAlsoInPlace) {
  std::vector<float> y(count_), expected(count_), u = wx_, u_expected = wx_, u_again = wx_, in_place = x_;
  cross_layer_forward(s_.rows, s_.width, x0_.data(), x_.data(), bias_.data(), u.data(), y.data());
  ref::cross_layer_forward(s_.rows, s_.width, x0_.data(), x_.data(), bias_.data(), u_expected.data(), expected.data());
  // Three roundings of numbers below 3.
  expect_close(y, expected, 8 * kRounding);
  expect_close(u, u_expected, 2 * kRounding);
  cross_layer_forward(s_.rows, s_.width, x0_.data(), in_place.data(), bias_.data(), u_again.data(), in_place.data());
  expect_same_bits(in_place, y);
}

TEST_P(CrossLayer, GradientAgreesWithTheReferenceAndAddsToThatOfTheFeatures) {
  auto dx0 = random_values(count_, "dx0"), dx0_expected = dx0;
  std::vector<float> du(count_), du_expected(count_), dbias(s_.width, -7), dbias_expected(s_.width);
  cross_layer_gradient(s_.rows, s_.width, x0_.data(), wx_.data(), dy_.data(), du.data(), dx0.data(), dbias.data());
  ref::cross_layer_gradient(s_.rows, s_.width, x0_.data(), wx_.data(), dy_.data(), du_expected.data(),
                            dx0_expected.data(), dbias_expected.data());
  expect_close(du, du_expected, kRounding);
  expect_close(dx0, dx0_expected, 3 * kRounding);
  expect_close(dbias, dbias_expected, std::pow(static_cast<double>(s_.rows), 1.5) * kRounding);
}

TEST_P(CrossLayer, GradientAgreesWithFiniteDifferences) {
  auto value = [&] {
    std::vector<float> y(count_), u = wx_;
    cross_layer_forward(s_.rows, s_.width, x0_.data(), x_.data(), bias_.data(), u.data(), y.data());
    double sum = 0;
    for (size_t i = 0; i < count_; ++i) sum += static_cast<double>(y[i]) * static_cast<double>(dy_[i]);
    return sum;
  };
  std::vector<float> y(count_), u = wx_, du(count_), dx0(count_), dbias(s_.width);
  cross_layer_forward(s_.rows, s_.width, x0_.data(), x_.data(), bias_.data(), u.data(), y.data());
  cross_layer_gradient(s_.rows, s_.width, x0_.data(), u.data(), dy_.data(), du.data(), dx0.data(), dbias.data());
  // Linear in each operand, so that a step of 1 adds only rounding: at most one unit of 2^-22 an element.
  const double tolerance = 1e-4;
  expect_finite_differences(value, x0_, dx0, 0.5F, tolerance);
  expect_finite_differences(value, wx_, du, 0.5F, tolerance);
  expect_finite_differences(value, bias_, dbias, 0.5F, tolerance);
  expect_finite_differences(value, x_, dy_, 0.5F, tolerance);
}

INSTANTIATE_TEST_SUITE_P(Shapes, CrossLayer, testing::Values(Shape{1, 1}, Shape{7, 5}, Shape{13, 33}, Shape{3, 64}));

}  // namespace
}  // namespace freshet::kernels
