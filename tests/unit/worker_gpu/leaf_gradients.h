// Gradients of micro-batches whose sum shows every change of the order, and what the tree makes of them. Tests only.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/random.h"
#include "base/status.h"
#include "worker/comm/communicator.h"
#include "worker/comm/reduce.h"
#include "worker/comm/tree.h"

namespace freshet::worker {

// Five and a bit blocks: no number of ranks above one divides them, and of eight ranks some own nothing.
inline constexpr size_t kParameters = 5 * 1024 + 77;

// Sizes over six decades.
inline std::vector<float> leaf_gradient(size_t leaf) {
  Philox philox(7, leaf);
  std::vector<float> values(kParameters);
  for (size_t i = 0; i < kParameters; ++i) {
    values[i] = static_cast<float>((2 * philox.uniform(2 * i) - 1) * std::pow(10, 6 * philox.uniform(2 * i + 1)));
  }
  return values;
}

// The segment of a rank, as the CPU's reducer makes it.
inline Result<std::vector<float>> segment_on_cpu(Communicator& comm, size_t leaves, size_t leaves_max) {
  BufferPool pool(kParameters);
  const Range mine = share_of(leaves_max, comm.size(), comm.rank());
  SubtreeSums sums(leaves, mine.begin, mine.end, &pool);
  for (size_t leaf = mine.begin; leaf < std::min(mine.end, leaves); ++leaf) {
    float* const buffer = pool.take();
    std::ranges::copy(leaf_gradient(leaf), buffer);
    sums.add_leaf(leaf, buffer);
  }
  TreeReducer reducer(&comm, kParameters, leaves_max);
  ASSIGN_OR_RETURN(const float* total, reducer.reduce(leaves, sums.sums()));
  return std::vector<float>(total, total + reducer.segment().size());
}

}  // namespace freshet::worker
