#include "worker/comm/tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "base/random.h"
#include "tests/unit/worker/shared_floats.h"
#include "worker/comm/local.h"
#include "worker/comm/reduce.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;

// Two and a half blocks: segments of several ranks, and a short last one.
constexpr size_t kFloats = 2600;

std::vector<float> leaf_values(size_t leaf) {
  Philox philox(7, leaf);
  std::vector<float> values(kFloats);
  // Sizes over six decades: any other order of additions shows in the bits.
  for (size_t i = 0; i < kFloats; ++i) {
    values[i] = static_cast<float>((2 * philox.uniform(2 * i) - 1) * std::pow(10, 6 * philox.uniform(2 * i + 1)));
  }
  return values;
}

// The definition: split at the largest power of two below the number of leaves... which the aligned tree is.
std::vector<float> expected_sum(size_t begin, size_t end) {
  if (end - begin == 1) return leaf_values(begin);
  size_t half = 1;
  while (half * 2 < end - begin) half *= 2;
  auto left = expected_sum(begin, begin + half), right = expected_sum(begin + half, end);
  for (size_t i = 0; i < kFloats; ++i) left[i] += right[i];
  return left;
}

float* leaf_buffer(size_t leaf, BufferPool* pool) {
  float* buffer = pool->take();
  auto values = leaf_values(leaf);
  std::copy(values.begin(), values.end(), buffer);
  return buffer;
}

TEST(Tree, CoversWithTheLargestWholeSubtrees) {
  EXPECT_THAT(tree_cover(8, 0, 8), ElementsAre(TreeNode{3, 0}));
  EXPECT_THAT(tree_cover(8, 2, 5), ElementsAre(TreeNode{1, 1}, TreeNode{0, 4}));
  EXPECT_THAT(tree_cover(8, 5, 8), ElementsAre(TreeNode{0, 5}, TreeNode{1, 3}));
  // The tail of five leaves is a whole subtree: its right half is empty.
  EXPECT_THAT(tree_cover(5, 4, 8), ElementsAre(TreeNode{2, 1}));
  EXPECT_THAT(tree_cover(5, 5, 8), ElementsAre());
  EXPECT_THAT(tree_cover(1, 0, 1), ElementsAre(TreeNode{0, 0}));
}

TEST(Tree, SumsDoNotDependOnTheOrderOfLeaves) {
  for (size_t leaves : {1, 2, 3, 5, 8, 13}) {
    auto expected = expected_sum(0, leaves);
    for (uint64_t seed = 0; seed < 10; ++seed) {
      std::vector<size_t> order(leaves);
      for (size_t i = 0; i < leaves; ++i) order[i] = i;
      Philox philox(seed);
      for (size_t i = leaves; i > 1; --i) std::swap(order[i - 1], order[philox.below(i, i)]);
      BufferPool pool(kFloats);
      SubtreeSums sums(leaves, 0, leaves, &pool);
      for (size_t leaf : order) sums.add_leaf(leaf, leaf_buffer(leaf, &pool));
      auto result = sums.sums();
      ASSERT_EQ(result.size(), 1U);
      ASSERT_EQ(std::memcmp(result[0], expected.data(), kFloats * sizeof(float)), 0) << leaves << ", seed " << seed;
    }
  }
}

TEST(Tree, SumsDoNotDependOnThreads) {
  auto expected = expected_sum(0, 13);
  BufferPool pool(kFloats);
  SubtreeSums sums(13, 0, 13, &pool);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t leaf = t; leaf < 13; leaf += 4) sums.add_leaf(leaf, leaf_buffer(leaf, &pool));
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(std::memcmp(sums.sums()[0], expected.data(), kFloats * sizeof(float)), 0);
}

TEST(Tree, AddingLeavesInOrderNeedsFewBuffers) {
  BufferPool pool(kFloats);
  for (int step = 0; step < 2; ++step) {
    SubtreeSums sums(16, 0, 16, &pool);
    for (size_t leaf = 0; leaf < 16; ++leaf) sums.add_leaf(leaf, leaf_buffer(leaf, &pool));
  }
  EXPECT_EQ(pool.made(), 5U);  // log2(16) + 1
}

class ReduceOverRanks : public testing::TestWithParam<int> {};

// Leaves: those of the last batch too, where some ranks hold none.
TEST_P(ReduceOverRanks, GivesTheBitsOfOneRank) {
  const size_t leaves_max = 8;
  SharedFloats result(kFloats);
  for (size_t leaves = 1; leaves <= leaves_max; ++leaves) {
    result.clear();
    Status status = run_local_gang(GetParam(), [&](Communicator& comm) -> Status {
      BufferPool pool(kFloats);
      Range mine = share_of(leaves_max, comm.size(), comm.rank());
      SubtreeSums sums(leaves, mine.begin, mine.end, &pool);
      for (size_t leaf = mine.begin; leaf < std::min(mine.end, leaves); ++leaf) {
        sums.add_leaf(leaf, leaf_buffer(leaf, &pool));
      }
      TreeReducer reducer(&comm, kFloats, leaves_max);
      ASSIGN_OR_RETURN(const float* segment, reducer.reduce(leaves, sums.sums()));
      std::vector<float> all(kFloats);
      std::copy(segment, segment + reducer.segment().size(), all.data() + reducer.segment().begin);
      RETURN_IF_ERROR(reducer.all_gather(all.data()));
      // The last rank's view, so that the gathering counts as well.
      if (comm.rank() == comm.size() - 1) std::copy(all.begin(), all.end(), result.data());
      return Status::ok();
    });
    ASSERT_TRUE(status.is_ok()) << status.to_string();
    auto expected = expected_sum(0, leaves);
    EXPECT_EQ(std::memcmp(result.data(), expected.data(), kFloats * sizeof(float)), 0) << leaves << " leaves";
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, ReduceOverRanks, testing::Values(1, 2, 3, 4, 5, 7, 8));

TEST(Shares, CoverEverythingInOrder) {
  for (int ranks : {1, 2, 3, 8, 11}) {
    size_t at = 0, at_segment = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      Range share = share_of(10, ranks, rank), segment = segment_of(kFloats, ranks, rank);
      EXPECT_EQ(share.begin, at);
      EXPECT_EQ(segment.begin, at_segment);
      EXPECT_TRUE(segment.begin % 1024 == 0 || segment.begin == kFloats);
      at = share.end;
      at_segment = segment.end;
    }
    EXPECT_EQ(at, 10U);
    EXPECT_EQ(at_segment, kFloats);
  }
}

}  // namespace
}  // namespace freshet::worker
