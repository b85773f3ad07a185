#include "worker/gpu/tree_stack.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace freshet::worker {
namespace {

TEST(TreeStack, LeavesWhatCoversItsLeaves) {
  for (size_t leaves = 1; leaves <= 13; ++leaves) {
    for (size_t begin = 0; begin < leaves; ++begin) {
      for (size_t end = begin + 1; end <= leaves + 2; ++end) {
        TreeStack stack(leaves, begin, end);
        for (size_t leaf = begin; leaf < std::min(end, leaves); ++leaf) stack.push({0, leaf}, stack.sums().size());
        std::vector<TreeNode> nodes;
        for (const auto& sum : stack.sums()) {
          EXPECT_EQ(sum.place, nodes.size());
          nodes.push_back(sum.node);
        }
        EXPECT_EQ(nodes, tree_cover(leaves, begin, end)) << leaves << ": " << begin << " to " << end;
      }
    }
  }
}

// The covers of three ranks, one behind the other, give the root.
TEST(TreeStack, JoinsWhatRanksHave) {
  for (size_t leaves = 1; leaves <= 13; ++leaves) {
    TreeStack stack(leaves, 0, leaves);
    size_t place = 0, additions = 0;
    for (size_t rank = 0; rank < 3; ++rank) {
      for (TreeNode node : tree_cover(leaves, 13 * rank / 3, 13 * (rank + 1) / 3)) {
        for (const auto& addition : stack.push(node, place++)) {
          ++additions;
          EXPECT_LT(addition.to, addition.from);
        }
      }
    }
    ASSERT_EQ(stack.sums().size(), 1U) << leaves;
    EXPECT_EQ(stack.sums()[0].node, tree_root(leaves));
    EXPECT_EQ(stack.sums()[0].place, 0U);
    EXPECT_EQ(additions, place - 1);
  }
}

}  // namespace
}  // namespace freshet::worker
