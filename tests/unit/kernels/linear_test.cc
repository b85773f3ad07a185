#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

class Linear : public testing::TestWithParam<LinearShape> {
 protected:
  const LinearShape s_ = GetParam();
  const std::vector<float> x_ = random_values(s_.rows * s_.inputs, "x");
  const std::vector<float> w_ = random_values(s_.outputs * s_.inputs, "w");
  const std::vector<float> dy_ = random_values(s_.rows * s_.outputs, "dy");

  // A sum of n products of values below 1, each product and each partial sum rounded: the partial sums stay below n, so
  // the error is below 2 n^2 roundings; for random signs it is about n^1.5, and ours is held to 2 n^1.5 + 2.
  static double tolerance(size_t n) { return (2 * std::pow(static_cast<double>(n), 1.5) + 2) * kRounding; }
};

TEST_P(Linear, AgreesWithTheReference) {
  std::vector<float> y(s_.rows * s_.outputs, -7), y_ref(y.size());
  ASSERT_TRUE(linear_forward(s_, x_.data(), w_.data(), y.data()).is_ok());
  ref::linear_forward(s_, x_.data(), w_.data(), y_ref.data());
  expect_close(y, y_ref, tolerance(s_.inputs));

  std::vector<float> dx(x_.size(), -7), dx_ref(x_.size());
  ASSERT_TRUE(linear_input_gradient(s_, dy_.data(), w_.data(), dx.data()).is_ok());
  ref::linear_input_gradient(s_, dy_.data(), w_.data(), dx_ref.data());
  expect_close(dx, dx_ref, tolerance(s_.outputs));

  std::vector<float> dw(w_.size(), -7), dw_ref(w_.size());
  ASSERT_TRUE(linear_weight_gradient(s_, dy_.data(), x_.data(), dw.data()).is_ok());
  ref::linear_weight_gradient(s_, dy_.data(), x_.data(), dw_ref.data());
  expect_close(dw, dw_ref, tolerance(s_.rows));
}

// The same bits on other threads, while others compute, and wherever the operands lie.
TEST_P(Linear, GivesTheSameBitsOnAnyThreadAndAtAnyAddress) {
  auto all = [&](size_t shift) {
    auto shifted = [shift](const std::vector<float>& values) {
      std::vector<float> moved(shift);
      moved.insert(moved.end(), values.begin(), values.end());
      return moved;
    };
    auto x = shifted(x_), w = shifted(w_), dy = shifted(dy_);
    std::vector<float> out(shift + dy_.size() + x_.size() + w_.size());
    float* y = out.data() + shift;
    EXPECT_TRUE(linear_forward(s_, x.data() + shift, w.data() + shift, y).is_ok());
    EXPECT_TRUE(linear_input_gradient(s_, dy.data() + shift, w.data() + shift, y + dy_.size()).is_ok());
    EXPECT_TRUE(linear_weight_gradient(s_, dy.data() + shift, x.data() + shift, y + dy_.size() + x_.size()).is_ok());
    return std::vector<float>(out.begin() + static_cast<ptrdiff_t>(shift), out.end());
  };
  auto expected = all(0);
  for (size_t threads : {1, 2, 3, 4, 8}) {
    std::vector<std::vector<float>> results(threads);
    std::vector<std::thread> running;
    for (size_t t = 0; t < threads; ++t) running.emplace_back([&, t] { results[t] = all(t); });
    for (auto& thread : running) thread.join();
    for (const auto& result : results) expect_same_bits(result, expected);
  }
}

// Rows of a product do not know how many other rows there are: a tile may be cut anywhere.
TEST_P(Linear, SplitRowsGiveTheSameBits) {
  std::vector<float> y(s_.rows * s_.outputs), split(y.size());
  std::vector<float> dx(x_.size()), dx_split(x_.size());
  ASSERT_TRUE(linear_forward(s_, x_.data(), w_.data(), y.data()).is_ok());
  ASSERT_TRUE(linear_input_gradient(s_, dy_.data(), w_.data(), dx.data()).is_ok());
  size_t half = s_.rows / 2;
  for (auto [from, to] : {std::pair{size_t{0}, half}, std::pair{half, s_.rows}}) {
    LinearShape part{to - from, s_.inputs, s_.outputs};
    ASSERT_TRUE(
        linear_forward(part, x_.data() + from * s_.inputs, w_.data(), split.data() + from * s_.outputs).is_ok());
    ASSERT_TRUE(
        linear_input_gradient(part, dy_.data() + from * s_.outputs, w_.data(), dx_split.data() + from * s_.inputs)
            .is_ok());
  }
  // oneDNN takes another path (a matrix-vector product) for a single row or column, which the engine never mixes with
  // this one: its tiles have one size.
  if (s_.outputs > 1 && half > 1) {
    expect_same_bits(split, y);
    if (s_.inputs > 1) expect_same_bits(dx_split, dx);
  } else {
    expect_close(split, y, tolerance(s_.inputs));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Linear,
                         testing::Values(LinearShape{1, 1, 1}, LinearShape{512, 33, 64}, LinearShape{512, 64, 32},
                                         LinearShape{512, 32, 1}, LinearShape{37, 49, 17}, LinearShape{127, 3, 5},
                                         LinearShape{1, 65, 7}, LinearShape{2048, 65, 130}, LinearShape{513, 1, 3}));

TEST(LinearEdges, NoRowsGiveAZeroGradientAndNoOutput) {
  std::vector<float> dw(6, -7);
  ASSERT_TRUE(linear_weight_gradient({0, 2, 3}, nullptr, nullptr, dw.data()).is_ok());
  EXPECT_EQ(dw, std::vector<float>(6, 0.0F));
  EXPECT_TRUE(linear_forward({0, 2, 3}, nullptr, dw.data(), nullptr).is_ok());
}

// d/dx and d/dw of sum(dy * y), by central differences; exact but for rounding, because the product is linear.
TEST(LinearGradients, AgreeWithFiniteDifferences) {
  LinearShape s{5, 7, 3};
  auto x = random_values(35, "x"), w = random_values(21, "w"), dy = random_values(15, "dy");
  auto value = [&] {
    std::vector<float> y(15);
    EXPECT_TRUE(linear_forward(s, x.data(), w.data(), y.data()).is_ok());
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += static_cast<double>(y[i]) * static_cast<double>(dy[i]);
    return sum;
  };
  std::vector<float> dx(35), dw(21);
  ASSERT_TRUE(linear_input_gradient(s, dy.data(), w.data(), dx.data()).is_ok());
  ASSERT_TRUE(linear_weight_gradient(s, dy.data(), x.data(), dw.data()).is_ok());
  auto check = [&](std::vector<float>& at, const std::vector<float>& gradient) {
    for (size_t i = 0; i < at.size(); ++i) {
      float old = at[i];
      at[i] = old + 0.5F;
      double above = value();
      at[i] = old - 0.5F;
      double below = value();
      at[i] = old;
      EXPECT_NEAR(above - below, static_cast<double>(gradient[i]), 1e-5) << i;
    }
  };
  check(x, dx);
  check(w, dw);
}

TEST(LinearLibrary, SaysItsVersion) { EXPECT_EQ(linear_library().substr(0, 7), "oneDNN "); }

}  // namespace
}  // namespace freshet::kernels
