#include "worker/train/row_gradients.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "kernels/reduce.h"

namespace freshet::worker {
namespace {

// A digit's counts fit the first cache.
constexpr unsigned kDigitBitsMax = 11;

}  // namespace

void sort_lookups(size_t rows, std::vector<Lookup>* lookups, std::vector<Lookup>* spare) {
  const auto bits = static_cast<unsigned>(std::bit_width(rows == 0 ? 0 : rows - 1));
  const unsigned digits = (bits + kDigitBitsMax - 1) / kDigitBitsMax;
  spare->resize(lookups->size());
  for (unsigned digit = 0; digit < digits; ++digit) {
    const unsigned width = (bits + digits - 1) / digits, shift = digit * width;
    const uint32_t mask = (uint32_t{1} << width) - 1;
    uint32_t starts[(size_t{1} << kDigitBitsMax) + 1] = {};
    for (const Lookup& lookup : *lookups) ++starts[((lookup.row >> shift) & mask) + 1];
    for (uint32_t value = 0; value < mask; ++value) starts[value + 1] += starts[value];
    for (const Lookup& lookup : *lookups) (*spare)[starts[(lookup.row >> shift) & mask]++] = lookup;
    lookups->swap(*spare);
  }
}

const float* tree_sum(std::span<const Addend> addends, TreeNode node, size_t dim, float* scratch) {
  CHECK(!addends.empty());
  if (addends.size() == 1) return addends[0].values;
  if (addends.front().leaf == addends.back().leaf) {
    std::copy_n(addends[0].values, dim, scratch);
    for (const Addend& addend : addends.subspan(1)) kernels::tree_add(dim, addend.values, scratch);
    return scratch;
  }
  CHECK(node.level > 0);
  const size_t middle = node.left().end();
  const auto split = static_cast<size_t>(
      std::partition_point(addends.begin(), addends.end(), [middle](const Addend& a) { return a.leaf < middle; }) -
      addends.begin());
  if (split == 0) return tree_sum(addends, node.right(), dim, scratch);
  if (split == addends.size()) return tree_sum(addends, node.left(), dim, scratch);
  const float* left = tree_sum(addends.first(split), node.left(), dim, scratch);
  if (left != scratch) std::copy_n(left, dim, scratch);
  kernels::tree_add(dim, tree_sum(addends.subspan(split), node.right(), dim, scratch + dim), scratch);
  return scratch;
}

}  // namespace freshet::worker
