#include "kernels/bias_relu.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

class BiasRelu : public testing::TestWithParam<std::pair<size_t, size_t>> {
 protected:
  const size_t rows_ = GetParam().first;
  const size_t columns_ = GetParam().second;
  const std::vector<float> bias_ = random_values(columns_, "bias");
  const std::vector<float> z_ = random_values(rows_ * columns_, "z");
  const std::vector<float> dy_ = random_values(rows_ * columns_, "dy");
};

// Elementwise: the reference rounds the same way, so the bits are equal.
TEST_P(BiasRelu, ForwardHasTheBitsOfTheReference) {
  auto y = z_, y_ref = z_, linear = z_;
  bias_relu_forward(rows_, columns_, bias_.data(), y.data());
  ref::bias_relu_forward(rows_, columns_, bias_.data(), y_ref.data());
  expect_same_bits(y, y_ref);
  bias_forward(rows_, columns_, bias_.data(), linear.data());
  for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(linear[i], z_[i] + bias_[i % columns_]);
}

TEST_P(BiasRelu, GradientsAgreeWithTheReference) {
  auto y = z_;
  bias_relu_forward(rows_, columns_, bias_.data(), y.data());
  auto dz = dy_, dz_ref = dy_;
  std::vector<float> dbias(columns_, -7), dbias_ref(columns_), again(columns_);
  bias_relu_gradient(rows_, columns_, y.data(), dz.data(), dbias.data());
  ref::bias_relu_gradient(rows_, columns_, y.data(), dz_ref.data(), dbias_ref.data());
  expect_same_bits(dz, dz_ref);
  // A running sum of n values below 1 rounds n times at a size below n; random signs keep it near sqrt(n).
  double tolerance = std::pow(static_cast<double>(rows_), 1.5) * kRounding;
  expect_close(dbias, dbias_ref, tolerance);

  // Without the ReLU, from what it left; and the same bits a second time.
  bias_gradient(rows_, columns_, dz.data(), again.data());
  expect_same_bits(again, dbias);
}

INSTANTIATE_TEST_SUITE_P(Shapes, BiasRelu,
                         testing::Values(std::pair{1, 1}, std::pair{3, 16}, std::pair{37, 5}, std::pair{512, 64},
                                         std::pair{512, 33}, std::pair{100, 1}, std::pair{1, 17}));

TEST(BiasReluEdges, GradientAgreesWithFiniteDifferences) {
  size_t rows = 3, columns = 4;
  auto z = random_values(12, "z"), bias = random_values(4, "bias"), dy = random_values(12, "dy");
  auto value = [&] {
    auto y = z;
    bias_relu_forward(rows, columns, bias.data(), y.data());
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += static_cast<double>(y[i]) * static_cast<double>(dy[i]);
    return sum;
  };
  auto y = z, dz = dy;
  std::vector<float> dbias(4);
  bias_relu_forward(rows, columns, bias.data(), y.data());
  bias_relu_gradient(rows, columns, y.data(), dz.data(), dbias.data());
  auto check = [&](std::vector<float>& at, const std::vector<float>& gradient) {
    for (size_t i = 0; i < at.size(); ++i) {
      float old = at[i];
      at[i] = old + 0x1p-10F;  // no element of these inputs is that close to the bend
      double above = value();
      at[i] = old - 0x1p-10F;
      double below = value();
      at[i] = old;
      EXPECT_NEAR((above - below) * 512, static_cast<double>(gradient[i]), 1e-3) << i;
    }
  };
  check(z, dz);
  check(bias, dbias);
}

TEST(BiasReluEdges, NotANumberIsKept) {
  float bias = 1, dbias = 0;
  std::vector<float> z = {std::numeric_limits<float>::quiet_NaN(), -3, std::numeric_limits<float>::infinity()};
  bias_relu_forward(3, 1, &bias, z.data());
  EXPECT_TRUE(std::isnan(z[0]));
  EXPECT_EQ(z[1], 0);
  EXPECT_TRUE(std::isinf(z[2]));
  std::vector<float> dz = {1, 2, std::numeric_limits<float>::quiet_NaN()};
  bias_relu_gradient(3, 1, z.data(), dz.data(), &dbias);
  EXPECT_EQ(dz[1], 0);
  EXPECT_TRUE(std::isnan(dbias));
}

TEST(BiasReluEdges, NoRows) {
  std::vector<float> bias(3, 1), dbias(3, -7);
  bias_relu_forward(0, 3, bias.data(), nullptr);
  bias_relu_gradient(0, 3, nullptr, nullptr, dbias.data());
  EXPECT_EQ(dbias, std::vector<float>(3, 0.0F));
}

}  // namespace
}  // namespace freshet::kernels
