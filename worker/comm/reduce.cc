#include "worker/comm/reduce.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <span>

#include "base/check.h"
#include "kernels/reduce.h"

namespace freshet::worker {
namespace {

// The sum of a node from those that are there; null when none of its leaves is.
float* total(TreeNode node, const std::map<TreeNode, float*>& there, size_t leaves, size_t count) {
  if (node.begin() >= leaves) return nullptr;
  if (auto found = there.find(node); found != there.end()) return found->second;
  CHECK_MSG(node.level > 0, "a leaf of the tree is held by no rank");
  float* left = total(node.left(), there, leaves, count);
  float* right = total(node.right(), there, leaves, count);
  if (right) kernels::tree_add(count, right, left);
  return left;
}

}  // namespace

Range share_of(size_t count, int ranks, int rank) {
  auto n = static_cast<size_t>(ranks), r = static_cast<size_t>(rank);
  return {count * r / n, count * (r + 1) / n};
}

Range segment_of(size_t parameters, int ranks, int rank) {
  size_t blocks = (parameters + kernels::kBlock - 1) / kernels::kBlock;
  Range share = share_of(blocks, ranks, rank);
  return {std::min(share.begin * kernels::kBlock, parameters), std::min(share.end * kernels::kBlock, parameters)};
}

TreeReducer::TreeReducer(Communicator* comm, size_t parameters, size_t leaves_max)
    : comm_(comm),
      parameters_(parameters),
      leaves_max_(leaves_max),
      segment_(segment_of(parameters, comm->size(), comm->rank())),
      outgoing_(static_cast<size_t>(comm->size())),
      incoming_(static_cast<size_t>(comm->size())) {}

std::vector<TreeNode> TreeReducer::cover_of(size_t leaves, int rank) const {
  Range share = share_of(leaves_max_, comm_->size(), rank);
  return tree_cover(leaves, share.begin, share.end);
}

Result<const float*> TreeReducer::reduce(size_t leaves, const std::vector<float*>& sums) {
  CHECK(leaves > 0 && leaves <= leaves_max_);
  auto mine = cover_of(leaves, comm_->rank());
  CHECK(mine.size() == sums.size());
  std::map<TreeNode, float*> there;
  for (size_t i = 0; i < mine.size(); ++i) there[mine[i]] = sums[i] + segment_.begin;

  if (comm_->size() > 1) {
    auto ranks = static_cast<size_t>(comm_->size());
    std::vector<Bytes> outgoing(ranks);
    std::vector<MutableBytes> incoming(ranks);
    for (size_t peer = 0; peer < ranks; ++peer) {
      auto number = static_cast<int>(peer);
      if (number == comm_->rank()) continue;
      Range theirs = segment_of(parameters_, comm_->size(), number);
      if (sums.size() == 1) {  // a whole subtree: sent from where it is
        outgoing[peer] = bytes_of(std::span<const float>(sums[0] + theirs.begin, theirs.size()));
      } else {
        outgoing_[peer].clear();
        for (const float* sum : sums) {
          outgoing_[peer].insert(outgoing_[peer].end(), sum + theirs.begin, sum + theirs.end);
        }
        outgoing[peer] = bytes_of(std::span<const float>(outgoing_[peer]));
      }

      auto nodes = cover_of(leaves, number);
      incoming_[peer].resize(nodes.size() * segment_.size());
      incoming[peer] = bytes_of(std::span<float>(incoming_[peer]));
      for (size_t i = 0; i < nodes.size(); ++i) there[nodes[i]] = incoming_[peer].data() + i * segment_.size();
    }
    RETURN_IF_ERROR(comm_->exchange(outgoing, incoming));
  }
  return static_cast<const float*>(total(tree_root(leaves), there, leaves, segment_.size()));
}

Status TreeReducer::all_gather(float* parameters) {
  std::vector<MutableBytes> all;
  for (int rank = 0; rank < comm_->size(); ++rank) {
    Range range = segment_of(parameters_, comm_->size(), rank);
    all.push_back(bytes_of(std::span<float>(parameters + range.begin, range.size())));
  }
  return comm_->all_gather(all[static_cast<size_t>(comm_->rank())], all);
}

Status TreeReducer::gather(std::span<const float> own, std::vector<float>* all) {
  CHECK(own.size() == segment_.size());
  std::vector<MutableBytes> parts;
  if (comm_->rank() == 0) all->resize(parameters_);
  for (int rank = 0; rank < comm_->size() && comm_->rank() == 0; ++rank) {
    Range range = segment_of(parameters_, comm_->size(), rank);
    parts.push_back(bytes_of(std::span<float>(all->data() + range.begin, range.size())));
  }
  return comm_->gather(bytes_of(own), parts);
}

}  // namespace freshet::worker
