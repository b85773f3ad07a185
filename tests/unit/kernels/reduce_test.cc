#include "kernels/reduce.h"

#include <gtest/gtest.h>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

class Reduce : public testing::TestWithParam<size_t> {
 protected:
  size_t count_ = GetParam();
  std::vector<float> values_ = random_values(count_, "values", 10);
  size_t blocks_ = (count_ + kBlock - 1) / kBlock;
};

TEST_P(Reduce, BlockSumsAgreeWithTheReference) {
  std::vector<double> sums(blocks_, -7), expected(blocks_);
  block_sums_of_squares(count_, values_.data(), sums.data());
  ref::block_sums_of_squares(count_, values_.data(), expected.data());
  // A square of a float is exact in double; 1024 of them, below 100 each, add up with 1024 roundings of 2^-53.
  for (size_t i = 0; i < blocks_; ++i) EXPECT_NEAR(sums[i], expected[i], 1e-10) << i;
}

// A rank that starts at any block sees the same sums, also when its array lies elsewhere.
TEST_P(Reduce, BlocksDoNotKnowTheirNeighbours) {
  std::vector<double> sums(blocks_);
  block_sums_of_squares(count_, values_.data(), sums.data());
  for (size_t block = 0; block < blocks_; ++block) {
    size_t from = block * kBlock, size = std::min(kBlock, count_ - from);
    std::vector<float> moved(1);
    moved.insert(moved.end(), values_.begin() + static_cast<ptrdiff_t>(from),
                 values_.begin() + static_cast<ptrdiff_t>(from + size));
    double sum = 0;
    block_sums_of_squares(size, moved.data() + 1, &sum);
    EXPECT_EQ(sum, sums[block]);
  }
}

TEST_P(Reduce, TreeAddAddsElementByElement) {
  auto a = random_values(count_, "a"), sum = a;
  tree_add(count_, values_.data(), sum.data());
  for (size_t i = 0; i < count_; ++i) ASSERT_EQ(sum[i], a[i] + values_[i]);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Reduce, testing::Values(1, 7, 8, 1023, 1024, 1025, 5000));

}  // namespace
}  // namespace freshet::kernels
