// Joins the ranks' subtree sums: the owner of a segment of the parameters receives every rank's sums for that segment
// and adds them in tree order, so that the bits are those of one rank. Direct exchange; for ranks whose blocks of
// leaves are whole subtrees each value is sent once (a ring's traffic), for others about twice. One object per rank and
// training, used on the thread that owns the Communicator.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/status.h"
#include "worker/comm/communicator.h"
#include "worker/comm/tree.h"

namespace freshet::worker {

struct Range {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
};

// How `count` things are divided among ranks: contiguous, in rank order, sizes differ by at most one.
Range share_of(size_t count, int ranks, int rank);

// The parameters that a rank owns (its optimizer state, its updates). Borders are multiples of kernels::kBlock, so a
// block's sum is always made by one rank.
Range segment_of(size_t parameters, int ranks, int rank);

class TreeReducer {
 public:
  // `leaves_max`: micro-batches of a full global batch; ranks hold shares of them.
  TreeReducer(Communicator* comm, size_t parameters, size_t leaves_max);

  // `sums`: this rank's, for a batch of `leaves` (SubtreeSums::sums over share_of(leaves_max)). The total of this
  // rank's segment, valid until the next call; may lie in one of `sums`, which it overwrites.
  Result<const float*> reduce(size_t leaves, const std::vector<float*>& sums);

  // Every rank's own segment of `parameters` reaches every other rank.
  Status all_gather(float* parameters);
  // Every rank's `own` segment of such an array reaches rank 0, whose `all` becomes the whole.
  Status gather(std::span<const float> own, std::vector<float>* all);

  Range segment() const { return segment_; }

 private:
  std::vector<TreeNode> cover_of(size_t leaves, int rank) const;
  Communicator* const comm_;
  const size_t parameters_;
  const size_t leaves_max_;
  const Range segment_;
  std::vector<std::vector<float>> outgoing_, incoming_;
};

}  // namespace freshet::worker
