#include "worker/train/row_gradients.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"

namespace freshet::worker {
namespace {

TEST(SortLookups, IsStableForTablesOfAnySize) {
  Philox philox(7);
  uint64_t draws = 0;
  for (size_t rows : {1UL, 2UL, 3UL, 1000UL, 2048UL, 2049UL, 100'000UL, (1UL << 22) + 1, (1UL << 32) - 1}) {
    std::vector<Lookup> lookups, spare;
    for (uint32_t i = 0; i < 3000; ++i) {
      // Every other one is of the last few rows, so that there are many of one row.
      const uint64_t low = i % 2 == 0 || rows < 5 ? 0 : rows - 5;
      lookups.push_back({static_cast<uint32_t>(low + philox.below(draws++, rows - low)), i});
    }
    auto expected = lookups;
    std::stable_sort(expected.begin(), expected.end(), [](const Lookup& a, const Lookup& b) { return a.row < b.row; });
    sort_lookups(rows, &lookups, &spare);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(lookups[i].row, expected[i].row) << rows;
      ASSERT_EQ(lookups[i].example, expected[i].example) << rows;
    }
  }
}

TEST(SortLookups, RowsAreVisitedOnce) {
  std::vector<Lookup> sorted = {{2, 0}, {2, 5}, {7, 1}, {9, 2}, {9, 3}, {9, 4}};
  std::vector<std::pair<size_t, size_t>> seen;
  for_each_row(sorted, [&](size_t first, size_t last) { seen.emplace_back(first, last); });
  EXPECT_EQ(seen, (std::vector<std::pair<size_t, size_t>>{{0, 2}, {2, 3}, {3, 6}}));
  for_each_row({}, [&](size_t, size_t) { ADD_FAILURE(); });
}

// The tree as a person would write it: each node is its left half plus its right half, where both are there.
struct Sum {
  bool is_there = false;
  float value = 0;
};
Sum definition(const std::vector<std::vector<float>>& leaves, TreeNode node) {
  if (node.begin() >= leaves.size()) return {};
  if (node.level == 0) {
    Sum sum;
    for (float value : leaves[node.index]) sum = {true, sum.is_there ? sum.value + value : value};
    return sum;
  }
  Sum left = definition(leaves, node.left()), right = definition(leaves, node.right());
  if (!left.is_there) return right;
  return {true, right.is_there ? left.value + right.value : left.value};
}

// Whoever holds which leaves: their subtrees' sums added up are the sum of the whole tree, bit by bit.
TEST(TreeSum, IsTheSameForEveryDivisionOfTheLeaves) {
  Philox philox(11);
  uint64_t draws = 0;
  for (size_t leaves : {1UL, 2UL, 3UL, 5UL, 8UL, 13UL}) {
    for (int round = 0; round < 20; ++round) {
      std::vector<std::vector<float>> values(leaves);
      std::vector<Addend> all;
      for (auto& leaf : values) {
        const uint64_t count = philox.below(draws++, 4);
        for (uint64_t i = 0; i < count; ++i) leaf.push_back(static_cast<float>(philox.uniform(draws++) - 0.5));
      }
      for (size_t leaf = 0; leaf < leaves; ++leaf) {
        for (const float& value : values[leaf]) all.push_back({leaf, &value});
      }
      if (all.empty()) continue;
      std::vector<float> scratch(16);
      const float expected = definition(values, tree_root(leaves)).value;
      EXPECT_EQ(*tree_sum(all, tree_root(leaves), 1, scratch.data()), expected);
      for (size_t ranks = 2; ranks <= leaves; ++ranks) {
        std::vector<float> sums;
        std::vector<Addend> parts;
        sums.reserve(64);
        for (size_t rank = 0; rank < ranks; ++rank) {
          for (TreeNode node : tree_cover(leaves, leaves * rank / ranks, leaves * (rank + 1) / ranks)) {
            std::vector<Addend> own;
            for (const Addend& a : all) {
              if (a.leaf >= node.begin() && a.leaf < node.end()) own.push_back(a);
            }
            if (own.empty()) continue;
            sums.push_back(*tree_sum(own, node, 1, scratch.data()));
            parts.push_back({node.begin(), &sums.back()});
          }
        }
        EXPECT_EQ(*tree_sum(parts, tree_root(leaves), 1, scratch.data()), expected) << ranks << " ranks";
      }
    }
  }
}

}  // namespace
}  // namespace freshet::worker
