#include "worker/comm/tree.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>

#include "base/check.h"
#include "kernels/reduce.h"

namespace freshet::worker {

TreeNode tree_root(size_t leaves) {
  CHECK(leaves > 0);
  return {static_cast<uint32_t>(std::bit_width(leaves - 1)), 0};
}

std::vector<TreeNode> tree_cover(size_t leaves, size_t begin, size_t end) {
  std::vector<TreeNode> nodes;
  end = std::min(end, leaves);
  while (begin < end) {
    // Climb while the parent starts here too and holds no leaf beyond the end.
    TreeNode node{0, begin};
    while (node.index % 2 == 0 && node.level < tree_root(leaves).level &&
           std::min(node.parent().end(), leaves) <= end) {
      node = node.parent();
    }
    nodes.push_back(node);
    begin = node.end();
  }
  return nodes;
}

void BufferPool::Free::operator()(float* buffer) const { std::free(buffer); }

float* BufferPool::take() {
  std::lock_guard lock(mutex_);
  if (free_.empty()) {
    size_t bytes = std::max<size_t>((floats_ * sizeof(float) + 63) / 64 * 64, 64);
    auto* memory = static_cast<float*>(std::aligned_alloc(64, bytes));
    if (!memory) throw std::bad_alloc();
    all_.emplace_back(memory);
    return memory;
  }
  float* buffer = free_.back();
  free_.pop_back();
  return buffer;
}

void BufferPool::give(float* buffer) {
  std::lock_guard lock(mutex_);
  free_.push_back(buffer);
}

size_t BufferPool::made() const {
  std::lock_guard lock(mutex_);
  return all_.size();
}

SubtreeSums::SubtreeSums(size_t leaves, size_t begin, size_t end, BufferPool* pool)
    : leaves_(leaves), begin_(begin), end_(std::min(end, leaves)), pool_(pool) {}

SubtreeSums::~SubtreeSums() {
  for (auto& [node, buffer] : ready_) pool_->give(buffer);
}

bool SubtreeSums::holds(TreeNode node) const {
  return begin_ <= node.begin() && std::min(node.end(), leaves_) <= end_ && node.level <= tree_root(leaves_).level;
}

void SubtreeSums::add_leaf(size_t leaf, float* buffer) {
  CHECK(begin_ <= leaf && leaf < end_);
  TreeNode node{0, leaf};
  while (true) {
    TreeNode parent = node.parent();
    bool right_is_empty = parent.right().begin() >= leaves_;
    float* left = buffer;
    float* right = nullptr;
    {
      std::lock_guard lock(mutex_);
      if (!holds(parent)) {
        ready_[node] = buffer;
        return;
      }
      if (!right_is_empty) {
        TreeNode sibling = node == parent.left() ? parent.right() : parent.left();
        auto found = ready_.find(sibling);
        if (found == ready_.end()) {
          ready_[node] = buffer;
          return;
        }
        left = node < sibling ? buffer : found->second;
        right = node < sibling ? found->second : buffer;
        ready_.erase(found);
      }
    }
    if (right) {
      kernels::tree_add(pool_->floats(), right, left);
      pool_->give(right);
    }
    buffer = left;
    node = parent;
  }
}

std::vector<float*> SubtreeSums::sums() const {
  std::lock_guard lock(mutex_);
  std::vector<float*> sums;
  for (TreeNode node : tree_cover(leaves_, begin_, end_)) {
    auto found = ready_.find(node);
    CHECK_MSG(found != ready_.end(), "a leaf of the tree has not been added");
    sums.push_back(found->second);
  }
  CHECK(sums.size() == ready_.size());
  return sums;
}

}  // namespace freshet::worker
