// Sums the gradients of a global batch over micro-batches and ranks on the device, in the fixed tree of comm/tree.h:
// the bits are those of SubtreeSums and TreeReducer, whatever the number of ranks. A rank owns one segment of the
// parameters (segment_of), so that optimizer states and checkpoints are cut as on a CPU.
//
// The parameters are cut into buckets, which a backward pass completes from the last to the first. A bucket is reduced
// on a stream of this object's own while the backward pass of earlier layers goes on, in two hops:
//   sums: the bucket is cut into even slices, one for each rank (slice_of); every rank sends each other one its sums of
//     that slice, and each adds up its own slice.
//   totals: after the last sums, every rank sends what its slice came to, to the owners of these parameters.
// One or two ranks own most of a bucket. Were the sums sent to them directly, their links would take (ranks - 1) *
// bucket bytes for each sum of a rank, while those of all others are idle. In two hops no link takes more than
// (ranks - 1) / ranks * bucket bytes for each sum, and as much again for the totals; what is received takes as much
// less memory. Halving with neighbours first (Thakur et al. 2005, "Optimization of Collective Communication Operations
// in MPICH") would move as many bytes as the first hop does, in log2(ranks) hops, and only for powers of two.
//
// One object per rank, on the thread that owns the DeviceCommunicator. All may be recorded into a graph where the
// communicator is asynchronous.
#pragma once

#include <optional>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/device.h"
#include "worker/comm/reduce.h"
#include "worker/gpu/device_communicator.h"
#include "worker/gpu/tree_stack.h"

namespace freshet::worker {

// What is divided among ranks (Rajbhandari et al. 2020, "ZeRO").
enum class ZeroStage {
  // Optimizer states. A rank computes neighbouring micro-batches, adds them up by itself and sends each parameter's
  // gradient once a step; it holds about log2(micro-batches of a rank) + 1 gradients of all parameters.
  kOne,
  // Gradients, too. Ranks compute neighbouring micro-batches at the same time, each of which is sent as soon as it is
  // there; a rank holds one gradient of all parameters and about log2(micro-batches / ranks) + 1 of its slices, which
  // are as much as a segment.
  kTwo,
};

class DeviceReducer {
 public:
  // `leaves_max`: micro-batches of a full global batch. `buckets`: ascending first elements of the buckets, from 0 on,
  // the same on all ranks. `comm` outlives it. resource_exhausted when the memory is not there.
  static Result<DeviceReducer> create(DeviceCommunicator* comm, size_t parameters, size_t leaves_max,
                                      std::vector<size_t> buckets, ZeroStage stage);

  // A global batch of `leaves` begins, whose micro-batches are computed on `compute`.
  void begin_step(size_t leaves, cuda::Stream* compute);
  // The micro-batches that this rank computes in the step, ascending.
  std::vector<size_t> leaves() const;
  // The next of them begins: its gradient belongs at the result, device memory for all parameters, which may be
  // written by what is queued on `compute` from now on.
  Result<float*> begin_leaf();
  // What is queued on `compute` by now has written the micro-batch's gradient from the first element of `bucket` to
  // the end. With 0 it is whole.
  Status ready(size_t bucket);
  // After all of this rank's micro-batches: the total of this rank's segment, for what is queued on `compute` from now
  // on; it stays until the next step.
  Result<float*> finish();

  // Every rank's segment of an array with `item_bytes` for each parameter reaches every other rank.
  Status all_gather(const std::string& operation, void* array, size_t item_bytes, cuda::Stream* stream);
  // The same of an array with a number for each block of kernels::kBlock parameters.
  Status all_gather_blocks(const std::string& operation, double* blocks, cuda::Stream* stream);

  Range segment() const { return segment_; }
  size_t buckets() const { return borders_.size() - 1; }

 private:
  DeviceReducer(DeviceCommunicator* comm, size_t parameters, size_t leaves_max, const std::vector<size_t>& buckets,
                ZeroStage stage, cuda::Stream reducing, cuda::Event is_ready, cuda::Event is_reduced);
  Status allocate();
  size_t rounds_of(size_t leaves) const;
  std::vector<TreeNode> nodes_of(size_t leaves, size_t round, size_t rank) const;
  Range slice_of(size_t bucket, size_t rank) const;
  cuda::Stream* stream() { return ranks_ == 1 ? compute_ : &reducing_; }
  void plan_round();
  Status begin_reducing();
  Status end_reducing();
  Status reduce_bucket(size_t bucket);
  Status copy(size_t count, const float* from, float* to);
  Status exchange_sums(size_t bucket);
  Status exchange_totals(size_t bucket);
  float* place_of(size_t place, size_t bucket);

  DeviceCommunicator* const comm_;
  const size_t parameters_, leaves_max_, ranks_, rank_;
  const ZeroStage stage_;
  const Range segment_;
  std::vector<size_t> borders_;       // of buckets: multiples of kernels::kBlock, and the end
  std::vector<size_t> slices_ = {0};  // where this rank's slice of each bucket begins in partial_, and the end

  // Gradients of all parameters, the first of which has room for the totals when it has been sent; partial sums of the
  // own slices (none with kOne, which has all sums at once); what is sent where a rank holds several sums; what is
  // received.
  std::vector<cuda::DeviceMemory> gradients_, partial_;
  cuda::DeviceMemory sent_, received_;

  cuda::Stream reducing_;
  cuda::Event is_ready_, is_reduced_;
  cuda::Stream* compute_ = nullptr;

  // Of the step.
  size_t leaves_ = 0, leaves_begun_ = 0, round_ = 0;
  TreeStack own_;  // this rank's micro-batches; places are gradients_
  std::vector<TreeStack::Addition> own_additions_;
  size_t buckets_left_ = 0;  // of the micro-batch that has begun
  bool has_reduced_ = false;

  // Of the round, in which each rank sends all others some sums. Places: the first are this rank's partial sums, then
  // come what the ranks hold, rank by rank.
  TreeStack total_;
  std::vector<std::vector<TreeNode>> nodes_;  // of each rank
  std::vector<TreeStack::Addition> additions_, moves_;
};

}  // namespace freshet::worker
