#include "worker/task/replay.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace freshet::worker {
namespace {

const std::vector<TensorView> kTensors = {{"a", {2}, 0, 2}, {"b", {3}, 2, 3}};

TEST(TensorDifferences, NamesTheTensorsThatAreNotTheSameBits) {
  const std::vector<float> recorded = {1, -2, 4, 0, 8};
  EXPECT_TRUE(tensor_differences(kTensors, recorded, recorded).empty());

  auto found = tensor_differences(kTensors, recorded, {1, -2, 4.5F, 0, 6});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].name(), "b");
  EXPECT_EQ(found[0].elements(), 3U);
  EXPECT_EQ(found[0].different(), 2U);
  EXPECT_EQ(found[0].largest_absolute(), 2);
  EXPECT_EQ(found[0].largest_relative(), 0.25);
}

// What compares as equal may still be other bits, and what is not a number is never close.
TEST(TensorDifferences, AreOfBits) {
  auto found = tensor_differences(kTensors, {1, 2, 0.0F, 4, 5}, {1, 2, -0.0F, 4, 5});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].different(), 1U);
  EXPECT_EQ(found[0].largest_absolute(), 0);
  EXPECT_EQ(found[0].largest_relative(), 0);

  found = tensor_differences(kTensors, {1, 2, 3, 4, 5}, {std::nanf(""), 2, 3, 4, 5});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(std::isinf(found[0].largest_absolute()));
  EXPECT_TRUE(std::isinf(found[0].largest_relative()));
}

}  // namespace
}  // namespace freshet::worker
