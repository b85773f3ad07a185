#include "kernels/cross_entropy.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

struct Case {
  size_t rows, columns, block;
};

std::vector<int32_t> targets(const Case& c) {
  std::vector<int32_t> target;
  for (size_t r = 0; r < c.rows; ++r) target.push_back(static_cast<int32_t>(r * 7919 % c.columns));
  if (c.rows > 2) target[1] = -1;  // left out of the loss
  target[0] = static_cast<int32_t>(c.columns - 1);
  return target;
}

// Through blocks of columns that lie in one matrix; gradient is what the logits have become.
double run(const Case& c, const std::vector<int32_t>& target, float scale, std::vector<float>* logits) {
  const size_t blocks = (c.columns + c.block - 1) / c.block;
  std::vector<SoftmaxPart> parts(blocks * c.rows);
  std::vector<float> logit(c.rows), log_sum(c.rows);
  auto block_of = [&](size_t b) {
    return LogitBlock{c.rows, b * c.block, std::min(c.columns, (b + 1) * c.block), c.columns};
  };
  for (size_t b = 0; b < blocks; ++b) {
    softmax_parts(block_of(b), logits->data() + b * c.block, target.data(), &parts[b * c.rows], logit.data());
  }
  double loss = join_softmax_parts(c.rows, blocks, parts.data(), target.data(), logit.data(), log_sum.data());
  for (size_t b = 0; b < blocks; ++b) {
    cross_entropy_gradient(block_of(b), target.data(), log_sum.data(), scale, logits->data() + b * c.block);
  }
  return loss;
}

class CrossEntropy : public testing::TestWithParam<Case> {};

TEST_P(CrossEntropy, AgreesWithTheReference) {
  const Case c = GetParam();
  auto target = targets(c);
  // Outliers, so that a largest element that is missed would show.
  auto logits = random_values(c.rows * c.columns, "logits", 5);
  for (size_t r = 0; r < c.rows; ++r) logits[r * c.columns + r * 31 % c.columns] += 20;
  std::vector<float> expected(logits.size());
  double loss_expected = ref::cross_entropy(c.rows, c.columns, logits.data(), target.data(), 0.5F, expected.data());
  auto gradient = logits;
  double loss = run(c, target, 0.5F, &gradient);
  // Logits below 32 round log_sum at 2^-20 and the sum adds columns / 16 roundings; a probability below 1 follows it.
  double tolerance = (64 + static_cast<double>(c.columns) / 16) * kRounding;
  EXPECT_NEAR(loss, loss_expected, static_cast<double>(c.rows) * tolerance);
  expect_close(gradient, expected, tolerance);

  auto again = logits;
  EXPECT_EQ(run(c, target, 0.5F, &again), loss);
  expect_same_bits(again, gradient);
}

INSTANTIATE_TEST_SUITE_P(Shapes, CrossEntropy,
                         testing::Values(Case{1, 1, 1}, Case{3, 65, 65}, Case{5, 65, 16}, Case{7, 1000, 300},
                                         Case{64, 257, 64}, Case{2, 50257, 6283}));

TEST(CrossEntropyEdges, GradientAgreesWithFiniteDifferences) {
  const Case c{3, 23, 10};
  auto target = targets(c);
  auto logits = random_values(69, "logits", 2);
  auto gradient = logits;
  run(c, target, 1, &gradient);
  auto value = [&] {
    auto copy = logits;
    return run(c, target, 1, &copy);
  };
  expect_finite_differences(value, logits, gradient, 0x1p-6F, 1e-3);
}

// Adding a number to all logits of a row changes nothing, however far it takes them from 0; nor does a block that is
// far above the others break them.
TEST(CrossEntropyEdges, FarAwayLogits) {
  const Case c{3, 23, 10};
  auto logits = random_values(69, "logits", 2), gradient = logits;
  double loss = run(c, targets(c), 1, &gradient);
  for (float shift : {-1000.0F, 1000.0F}) {
    auto moved = logits;
    for (float& value : moved) value += shift;
    // At 1000 a logit is rounded at 2^-15.
    EXPECT_NEAR(run(c, targets(c), 1, &moved), loss, 1e-3);
    expect_close(moved, gradient, 1e-3);
  }
  auto one_above = logits;
  for (size_t r = 0; r < c.rows; ++r) one_above[r * c.columns + 15] += 2000;
  auto expected = one_above;
  double loss_expected = ref::cross_entropy(c.rows, c.columns, one_above.data(), targets(c).data(), 1, expected.data());
  EXPECT_NEAR(run(c, targets(c), 1, &one_above), loss_expected, 1e-2);
  expect_close(one_above, expected, 1e-3);
}

TEST(CrossEntropyEdges, NotANumberReachesTheLoss) {
  const Case c{1, 20, 20};
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (size_t at : {0, 7, 15, 16, 19}) {
      auto logits = random_values(20, "logits");
      logits[at] = bad;
      EXPECT_FALSE(std::isfinite(run(c, {3}, 1, &logits))) << bad << " at " << at;
    }
  }
}

}  // namespace
}  // namespace freshet::kernels
