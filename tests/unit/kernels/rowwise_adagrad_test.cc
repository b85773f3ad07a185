#include "kernels/rowwise_adagrad.h"

#include <gtest/gtest.h>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

class RowwiseAdagrad : public testing::TestWithParam<size_t> {};

TEST_P(RowwiseAdagrad, AgreesWithTheReferenceOverManySteps) {
  const size_t dim = GetParam();
  auto row = random_values(dim, "row"), expected = row;
  float sum = 0, sum_expected = 0;
  const RowwiseAdagradStep step{0.1F, 1e-8F};
  for (int t = 0; t < 20; ++t) {
    auto gradient = random_values(dim, "gradient " + std::to_string(t));
    rowwise_adagrad(step, dim, gradient.data(), row.data(), &sum);
    ref::rowwise_adagrad(step, dim, gradient.data(), expected.data(), &sum_expected);
  }
  // A step moves by at most 0.1 * sqrt(dim) and is rounded a few times, as is the number below 3 that it moves.
  const double tolerance = 20 * (4 + 0.4 * std::sqrt(static_cast<double>(dim))) * kRounding;
  expect_close(row, expected, tolerance);
  EXPECT_NEAR(static_cast<double>(sum), static_cast<double>(sum_expected), 20 * 8 * 20 * kRounding);
  EXPECT_GT(sum, 0);
}

INSTANTIATE_TEST_SUITE_P(Widths, RowwiseAdagrad, testing::Values(1, 5, 16, 17, 40));

TEST(RowwiseAdagradEdges, FirstStepMovesByTheLearningRate) {
  // All gradients alike: gradient / sqrt(mean of squares) is its sign.
  std::vector<float> row = {1, 1, 1}, gradient = {-3, -3, -3};
  float sum = 0;
  rowwise_adagrad({0.25F, 1e-8F}, 3, gradient.data(), row.data(), &sum);
  EXPECT_EQ(row, (std::vector<float>{1.25F, 1.25F, 1.25F}));
  EXPECT_EQ(sum, 9);
}

TEST(RowwiseAdagradEdges, NoGradientMovesNothing) {
  std::vector<float> row = {1, 2}, gradient = {0, 0};
  float sum = 0;
  rowwise_adagrad({}, 2, gradient.data(), row.data(), &sum);
  EXPECT_EQ(row, (std::vector<float>{1, 2}));
  EXPECT_EQ(sum, 0);
}

}  // namespace
}  // namespace freshet::kernels
