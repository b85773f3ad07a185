#include "worker/gpu/tree_stack.h"

#include <algorithm>

#include "base/check.h"

namespace freshet::worker {

TreeStack::TreeStack(size_t leaves, size_t begin, size_t end)
    : leaves_(leaves), begin_(begin), end_(std::min(end, leaves)) {}

bool TreeStack::holds(TreeNode node) const {
  return begin_ <= node.begin() && std::min(node.end(), leaves_) <= end_ && node.level <= tree_root(leaves_).level;
}

std::vector<TreeStack::Addition> TreeStack::push(TreeNode node, size_t place) {
  CHECK(holds(node));
  std::vector<Addition> additions;
  sums_.push_back({node, place});
  for (TreeNode parent = node.parent(); holds(parent); parent = parent.parent()) {
    Sum& last = sums_.back();
    if (last.node == parent.right()) {
      CHECK(sums_.size() >= 2 && sums_[sums_.size() - 2].node == parent.left());
      additions.push_back({last.place, sums_[sums_.size() - 2].place});
      sums_.pop_back();
    } else if (parent.right().begin() < leaves_) {
      break;  // its neighbour comes later
    }
    sums_.back().node = parent;
  }
  return additions;
}

}  // namespace freshet::worker
