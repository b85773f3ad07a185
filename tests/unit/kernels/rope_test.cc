#include "kernels/rope.h"

#include <gtest/gtest.h>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

class Rope : public testing::TestWithParam<RopeShape> {};

TEST_P(Rope, AgreesWithTheReferenceInBothDirections) {
  const RopeShape s = GetParam();
  const size_t first = 3;
  auto table = rope_table(first + s.rows, s.size, 10000);
  const auto x = random_values(s.rows * s.stride, "x");
  auto y = x, expected = x;
  rope_forward(s, table.data(), first, y.data());
  ref::rope(s, 10000, first, false, expected.data());
  // Two products below 1 and their sum, of a sine and a cosine that were rounded: six roundings.
  expect_close(y, expected, 6 * kRounding);
  auto back = y, back_expected = y;
  rope_gradient(s, table.data(), first, back.data());
  ref::rope(s, 10000, first, true, back_expected.data());
  expect_close(back, back_expected, 6 * kRounding);
  expect_close(back, x, 16 * kRounding);  // a rotation's transpose is its inverse

  auto again = x;
  for (size_t r = 0; r < s.rows; ++r) {
    rope_forward({1, s.heads, s.size, s.stride}, table.data(), first + r, again.data() + r * s.stride);
  }
  expect_same_bits(again, y);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Rope,
                         testing::Values(RopeShape{1, 1, 2, 2}, RopeShape{5, 3, 6, 20}, RopeShape{33, 2, 64, 200},
                                         RopeShape{7, 1, 128, 130}));

// <dy, R x> = <R^T dy, x>: what makes it the gradient.
TEST(RopeEdges, TheGradientIsTheTranspose) {
  RopeShape s{4, 2, 10, 20};
  auto table = rope_table(4, 10, 500);
  auto x = random_values(80, "x"), dy = random_values(80, "dy"), y = x, dx = dy;
  rope_forward(s, table.data(), 0, y.data());
  rope_gradient(s, table.data(), 0, dx.data());
  double left = 0, right = 0;
  for (size_t i = 0; i < 80; ++i) {
    left += static_cast<double>(dy[i]) * static_cast<double>(y[i]);
    right += static_cast<double>(dx[i]) * static_cast<double>(x[i]);
  }
  EXPECT_NEAR(left, right, 1e-5);
}

}  // namespace
}  // namespace freshet::kernels
