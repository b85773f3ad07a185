#include "kernels/activation.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

class Activation : public testing::TestWithParam<Tile> {
 protected:
  const Tile t_ = GetParam();
  const size_t count_ = t_.rows * t_.stride;
  // Wide enough for both flat ends; what lies beside the tile must stay.
  const std::vector<float> z_ = random_values(count_, "z", 12), up_ = random_values(count_, "up", 3);
  const std::vector<float> dy_ = random_values(count_, "dy"), bias_ = random_values(t_.columns, "bias");

  // The exponential is right to 2 roundings and the argument, below 60, to about 8 of its own; values reach 13 * 3.
  static constexpr double kTolerance = 200 * 39 * kRounding;

  void expect_outside_kept(const std::vector<float>& after, const std::vector<float>& before) const {
    for (size_t i = 0; i < count_; ++i) {
      if (i % t_.stride >= t_.columns) {
        ASSERT_EQ(after[i], before[i]) << "element " << i << " beside the tile";
      }
    }
  }
};

TEST_P(Activation, GeluAgreesWithTheReference) {
  auto z = z_, z2 = z_, y = up_, y2 = up_, dz = dy_, dz2 = dy_, again = up_;
  bias_gelu_forward(t_, bias_.data(), z.data(), y.data());
  ref::bias_gelu_forward(t_, bias_.data(), z2.data(), y2.data());
  expect_same_bits(z, z2);
  expect_close(y, y2, kTolerance);
  gelu_gradient(t_, z.data(), dz.data(), again.data());
  ref::gelu_gradient(t_, z.data(), dz2.data(), y2.data());
  expect_close(dz, dz2, kTolerance);
  expect_same_bits(again, y);
  expect_outside_kept(dz, dy_);
  expect_outside_kept(again, up_);
}

TEST_P(Activation, SwigluAgreesWithTheReference) {
  auto y = dy_, y2 = dy_, dgate = dy_, dgate2 = dy_, dup = dy_, dup2 = dy_, again = dy_;
  swiglu_forward(t_, z_.data(), up_.data(), y.data(), t_.stride);
  ref::swiglu_forward(t_, z_.data(), up_.data(), y2.data(), t_.stride);
  expect_close(y, y2, kTolerance);
  swiglu_gradient(t_, z_.data(), up_.data(), dy_.data(), dgate.data(), dup.data(), again.data(), t_.stride);
  ref::swiglu_gradient(t_, z_.data(), up_.data(), dy_.data(), dgate2.data(), dup2.data(), y2.data(), t_.stride);
  expect_close(dgate, dgate2, kTolerance);
  expect_close(dup, dup2, kTolerance);
  expect_same_bits(again, y);
  expect_outside_kept(dgate, dy_);
}

TEST_P(Activation, BiasAndColumnSums) {
  auto z = z_;
  bias_add(t_, bias_.data(), z.data());
  for (size_t i = 0; i < count_; ++i) {
    EXPECT_EQ(z[i], i % t_.stride < t_.columns ? z_[i] + bias_[i % t_.stride] : z_[i]);
  }
  std::vector<float> sums(t_.columns, -7), sums2(t_.columns), again(t_.columns);
  column_sums(t_, dy_.data(), sums.data());
  ref::column_sums(t_, dy_.data(), sums2.data());
  expect_close(sums, sums2, std::pow(static_cast<double>(t_.rows), 1.5) * kRounding);
  column_sums(t_, dy_.data(), again.data());
  expect_same_bits(again, sums);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Activation,
                         testing::Values(Tile{1, 1, 1}, Tile{3, 16, 16}, Tile{5, 16, 19}, Tile{7, 33, 40},
                                         Tile{64, 192, 768}, Tile{2, 15, 15}));

TEST(ActivationEdges, GradientsAgreeWithFiniteDifferences) {
  Tile t{2, 19, 19};
  auto z = random_values(38, "z", 3), up = random_values(38, "up"), dy = random_values(38, "dy");
  std::vector<float> none(19), y(38);
  auto weighted = [&] {
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += static_cast<double>(y[i]) * static_cast<double>(dy[i]);
    return sum;
  };
  auto gelu = [&] {
    auto copy = z;
    bias_gelu_forward(t, none.data(), copy.data(), y.data());
    return weighted();
  };
  auto swiglu = [&] {
    swiglu_forward(t, z.data(), up.data(), y.data(), t.stride);
    return weighted();
  };
  auto dz = dy;
  std::vector<float> dgate(38), dup(38), again(38);
  gelu_gradient(t, z.data(), dz.data(), again.data());
  expect_finite_differences(gelu, z, dz, 0x1p-6F, 1e-3);
  swiglu_gradient(t, z.data(), up.data(), dy.data(), dgate.data(), dup.data(), again.data(), t.stride);
  expect_finite_differences(swiglu, z, dgate, 0x1p-6F, 1e-3);
  expect_finite_differences(swiglu, up, dup, 0x1p-6F, 1e-3);
}

TEST(ActivationEdges, FarAwayValuesAndNotANumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> z = {-1000, 1000, 0, nan}, bias(4), y(4), dy(4, 1), again(4);
  bias_gelu_forward({1, 4, 4}, bias.data(), z.data(), y.data());
  EXPECT_NEAR(static_cast<double>(y[0]), 0, 1e-25);
  EXPECT_EQ(y[1], 1000);
  EXPECT_EQ(y[2], 0);
  EXPECT_TRUE(std::isnan(y[3]));
  gelu_gradient({1, 4, 4}, z.data(), dy.data(), again.data());
  EXPECT_NEAR(static_cast<double>(dy[0]), 0, 1e-25);
  EXPECT_EQ(dy[1], 1);
  EXPECT_EQ(dy[2], 0.5F);
  EXPECT_TRUE(std::isnan(dy[3]));
}

}  // namespace
}  // namespace freshet::kernels
