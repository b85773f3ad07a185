// The fixed binary tree over the micro-batches of a global batch, in which all gradients are summed. Node (level,
// index) stands for leaves [index << level, (index + 1) << level); a node whose right half holds no leaf is its left
// half, with nothing added. So the order of every addition depends on the number of leaves alone. A rank adds up the
// whole subtrees that lie in its block of leaves (SubtreeSums); reduce.h joins those of all ranks. Plain memory, no
// communication.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace freshet::worker {

struct TreeNode {
  uint32_t level = 0;
  size_t index = 0;

  auto operator<=>(const TreeNode&) const = default;
  size_t begin() const { return index << level; }
  size_t end() const { return (index + 1) << level; }
  TreeNode parent() const { return {level + 1, index / 2}; }
  TreeNode left() const { return {level - 1, index * 2}; }
  TreeNode right() const { return {level - 1, index * 2 + 1}; }
};

// The node over all leaves (leaves > 0).
TreeNode tree_root(size_t leaves);
// The largest nodes whose leaves all lie in [begin, end) of a tree of `leaves`, from left to right; together they hold
// exactly those leaves.
std::vector<TreeNode> tree_cover(size_t leaves, size_t begin, size_t end);

// Memory for gradients, reused from step to step: 64-byte aligned arrays of one size. Any thread.
class BufferPool {
 public:
  explicit BufferPool(size_t floats) : floats_(floats) {}
  // Not zeroed.
  float* take();
  void give(float* buffer);
  size_t floats() const { return floats_; }
  size_t made() const;

 private:
  struct Free {
    void operator()(float* buffer) const;
  };
  const size_t floats_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<float, Free>> all_;
  std::vector<float*> free_;
};

// One step's sums over the leaves [begin, end) of a tree of `leaves`. Leaves may be added in any order from any thread;
// the sums are the same. A leaf's buffer belongs to this object from then on, and goes back to the pool at the end.
class SubtreeSums {
 public:
  SubtreeSums(size_t leaves, size_t begin, size_t end, BufferPool* pool);
  ~SubtreeSums();
  SubtreeSums(const SubtreeSums&) = delete;
  SubtreeSums& operator=(const SubtreeSums&) = delete;

  void add_leaf(size_t leaf, float* buffer);
  // After all leaves: the sum of each node of tree_cover(leaves, begin, end), in its order.
  std::vector<float*> sums() const;

 private:
  bool holds(TreeNode node) const;
  const size_t leaves_, begin_, end_;
  BufferPool* const pool_;
  mutable std::mutex mutex_;
  std::map<TreeNode, float*> ready_;
};

}  // namespace freshet::worker
