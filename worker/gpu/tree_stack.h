// The order of the tree's additions when its sums come from left to right: SubtreeSums without memory. Places are
// numbers that mean something to the caller, who does the additions. Plain memory.
#pragma once

#include <cstddef>
#include <vector>

#include "worker/comm/tree.h"

namespace freshet::worker {

class TreeStack {
 public:
  struct Sum {
    TreeNode node;
    size_t place = 0;
  };
  // The sum at `from` is added to the one at `to`, after which nobody asks for `from`.
  struct Addition {
    size_t from = 0, to = 0;
  };

  TreeStack() = default;
  // Of the leaves [begin, end) of a tree of `leaves`.
  TreeStack(size_t leaves, size_t begin, size_t end);

  // The sum of the next node from the left lies at `place`. What can be added now, in this order.
  std::vector<Addition> push(TreeNode node, size_t place);
  // The sum number `index` from the left lies at `place` from now on.
  void move(size_t index, size_t place) { sums_[index].place = place; }
  // From left to right; after all leaves those of tree_cover(leaves, begin, end).
  const std::vector<Sum>& sums() const { return sums_; }

 private:
  bool holds(TreeNode node) const;
  size_t leaves_ = 0, begin_ = 0, end_ = 0;
  std::vector<Sum> sums_;
};

}  // namespace freshet::worker
