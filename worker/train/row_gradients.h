// The gradients of the rows of a table that a step's micro-batches name: lookups sorted by row, and for each row its
// sum in the fixed tree over micro-batches (comm/tree.h), in which a micro-batch that does not name the row is no leaf.
// A micro-batch's own lookups of a row are added in their order. So the bits do not depend on who holds what. Plain
// functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "worker/comm/tree.h"

namespace freshet::worker {

// That an example looks up a row.
struct Lookup {
  uint32_t row = 0;
  uint32_t example = 0;  // of this rank's part of the batch, from 0
};

// By rows; lookups of one row stay in their order. `rows`: of the table. `spare` is memory that may be reused.
void sort_lookups(size_t rows, std::vector<Lookup>* lookups, std::vector<Lookup>* spare);

// calls visit(first, last) for the lookups [first, last) of each row, ascending.
template <class Visit>
void for_each_row(const std::vector<Lookup>& sorted, Visit visit) {
  for (size_t first = 0; first < sorted.size();) {
    size_t last = first + 1;
    while (last < sorted.size() && sorted[last].row == sorted[first].row) ++last;
    visit(first, last);
    first = last;
  }
}

// Something to be added: values of a leaf, or of the subtree that begins with it.
struct Addend {
  size_t leaf = 0;
  const float* values = nullptr;  // [dim]
};

// The sum of all addends (at least one), which are ascending by leaf and all below `node`. It lies in `scratch`, or is
// the only addend's own. `scratch` holds (node.level + 1) * dim floats.
const float* tree_sum(std::span<const Addend> addends, TreeNode node, size_t dim, float* scratch);

}  // namespace freshet::worker
