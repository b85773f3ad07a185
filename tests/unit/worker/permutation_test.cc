#include "worker/train/permutation.h"

#include <gtest/gtest.h>

#include <vector>

namespace freshet::worker {
namespace {

class PermutationOf : public testing::TestWithParam<uint64_t> {};

TEST_P(PermutationOf, VisitsEveryRowOnce) {
  Permutation order(GetParam(), 4, 1);
  std::vector<int> seen(GetParam());
  for (uint64_t i = 0; i < GetParam(); ++i) {
    ASSERT_LT(order.at(i), GetParam());
    ++seen[order.at(i)];
  }
  for (int count : seen) ASSERT_EQ(count, 1);
}

INSTANTIATE_TEST_SUITE_P(Counts, PermutationOf, testing::Values(1, 2, 3, 4, 5, 17, 1000, 65536, 65537, 100'003));

TEST(Permutation, SeedsAndPassesDiffer) {
  Permutation a(1000, 1, 0), b(1000, 2, 0), c(1000, 1, 1);
  int same_b = 0, same_c = 0, in_place = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    same_b += a.at(i) == b.at(i);
    same_c += a.at(i) == c.at(i);
    in_place += a.at(i) == i;
  }
  // One of 1000 is expected; ten or more happen less than once in a million.
  EXPECT_LT(same_b, 10);
  EXPECT_LT(same_c, 10);
  EXPECT_LT(in_place, 10);
}

// Neighbours in the file must not stay neighbours, and each tenth of the pass must see all of the file.
TEST(Permutation, Spreads) {
  const uint64_t count = 100'000;
  Permutation order(count, 3, 0);
  int near = 0;
  std::vector<std::vector<int>> seen(10, std::vector<int>(10));
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t row = order.at(i);
    ++seen[i * 10 / count][row * 10 / count];
    if (i > 0) {
      uint64_t before = order.at(i - 1);
      near += (row > before ? row - before : before - row) <= 100;
    }
  }
  EXPECT_LT(near, 400);  // 200 expected
  for (const auto& tenth : seen) {
    for (int rows : tenth) EXPECT_NEAR(rows, 1000, 150);  // five standard deviations
  }
}

}  // namespace
}  // namespace freshet::worker
