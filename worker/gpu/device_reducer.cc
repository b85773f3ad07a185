#include "worker/gpu/device_reducer.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/reduce.h"
#include "kernels/reduce.h"

namespace freshet::worker {
namespace {

size_t round_up_to_block(size_t element, size_t parameters) {
  return std::min((element + kernels::kBlock - 1) / kernels::kBlock * kernels::kBlock, parameters);
}

// Where several sums lie one behind the other, each begins on a border of 16 bytes.
size_t stride_of(size_t floats) { return (floats + 3) / 4 * 4; }
size_t length_of(size_t sums, size_t floats) { return sums == 0 ? 0 : (sums - 1) * stride_of(floats) + floats; }

Bytes bytes_at(const float* values, size_t count) { return std::as_bytes(std::span(values, count)); }
MutableBytes room_at(float* values, size_t count) { return std::as_writable_bytes(std::span(values, count)); }

// What lies in both.
Range common(Range a, Range b) {
  const size_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

}  // namespace

Result<DeviceReducer> DeviceReducer::create(DeviceCommunicator* comm, size_t parameters, size_t leaves_max,
                                            std::vector<size_t> buckets, ZeroStage stage) {
  CHECK(parameters > 0 && leaves_max > 0);
  CHECK(!buckets.empty() && buckets.front() == 0 && std::is_sorted(buckets.begin(), buckets.end()) &&
        buckets.back() <= parameters);
  ASSIGN_OR_RETURN(cuda::Stream reducing, cuda::Stream::create(/*high_priority=*/true));
  ASSIGN_OR_RETURN(cuda::Event is_ready, cuda::Event::create());
  ASSIGN_OR_RETURN(cuda::Event is_reduced, cuda::Event::create());
  // Alone there is nobody to share gradients with.
  if (comm->size() == 1) stage = ZeroStage::kOne;
  DeviceReducer reducer(comm, parameters, leaves_max, buckets, stage, std::move(reducing), std::move(is_ready),
                        std::move(is_reduced));
  RETURN_IF_ERROR(reducer.allocate());
  return reducer;
}

DeviceReducer::DeviceReducer(DeviceCommunicator* comm, size_t parameters, size_t leaves_max,
                             const std::vector<size_t>& buckets, ZeroStage stage, cuda::Stream reducing,
                             cuda::Event is_ready, cuda::Event is_reduced)
    : comm_(comm),
      parameters_(parameters),
      leaves_max_(leaves_max),
      ranks_(static_cast<size_t>(comm->size())),
      rank_(static_cast<size_t>(comm->rank())),
      stage_(stage),
      segment_(segment_of(parameters, comm->size(), comm->rank())),
      reducing_(std::move(reducing)),
      is_ready_(std::move(is_ready)),
      is_reduced_(std::move(is_reduced)) {
  // Rounded up, so that what a bucket has is written when the pass has come to its first element.
  for (size_t begin : buckets) borders_.push_back(round_up_to_block(begin, parameters));
  borders_.push_back(parameters);
  for (size_t bucket = 0; bucket < this->buckets(); ++bucket) {
    slices_.push_back(slices_.back() + slice_of(bucket, rank_).size());
  }
}

Status DeviceReducer::allocate() {
  auto add = [](std::vector<cuda::DeviceMemory>* arrays, size_t count, size_t floats) -> Status {
    for (size_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(arrays->emplace_back(), cuda::DeviceMemory::allocate(floats * sizeof(float)));
    }
    return Status::ok();
  };
  size_t gradients = 1, partial = 0;
  if (stage_ == ZeroStage::kOne) {
    const Range share = share_of(leaves_max_, comm_->size(), comm_->rank());
    for (size_t leaf = share.begin; leaf < share.end; ++leaf) {
      gradients = std::max(gradients, tree_cover(leaves_max_, share.begin, leaf).size() + 1);
    }
  } else {
    for (size_t round = 1; round <= rounds_of(leaves_max_); ++round) {
      partial = std::max(partial, tree_cover(leaves_max_, 0, round * ranks_).size());
    }
  }
  RETURN_IF_ERROR(add(&gradients_, gradients, parameters_));
  RETURN_IF_ERROR(add(&partial_, partial, slices_.back()));
  if (ranks_ == 1) return Status::ok();

  size_t bucket_max = 0, slice_max = 0, sums_max = 0, others_max = 0;
  for (size_t bucket = 0; bucket < buckets(); ++bucket) {
    bucket_max = std::max(bucket_max, borders_[bucket + 1] - borders_[bucket]);
    slice_max = std::max(slice_max, slice_of(bucket, rank_).size());
  }
  for (size_t leaves = 1; leaves <= leaves_max_; ++leaves) {
    size_t others = 0;
    for (size_t rank = 0; rank < ranks_; ++rank) {
      const size_t sums = nodes_of(leaves, 0, rank).size();
      if (rank == rank_) sums_max = std::max(sums_max, sums);
      if (rank != rank_) others += sums;
    }
    others_max = std::max(others_max, others);
  }
  if (sums_max > 1) {
    ASSIGN_OR_RETURN(sent_, cuda::DeviceMemory::allocate(sums_max * (bucket_max + 4 * ranks_) * sizeof(float)));
  }
  ASSIGN_OR_RETURN(received_, cuda::DeviceMemory::allocate(others_max * stride_of(slice_max) * sizeof(float)));
  return Status::ok();
}

size_t DeviceReducer::rounds_of(size_t leaves) const {
  return stage_ == ZeroStage::kOne ? 1 : (leaves + ranks_ - 1) / ranks_;
}

// What `rank` holds to send in a round. Rank by rank these are the tree's nodes from left to right.
std::vector<TreeNode> DeviceReducer::nodes_of(size_t leaves, size_t round, size_t rank) const {
  if (stage_ == ZeroStage::kOne) {
    const Range share = share_of(leaves_max_, comm_->size(), static_cast<int>(rank));
    return tree_cover(leaves, share.begin, share.end);
  }
  const size_t leaf = round * ranks_ + rank;
  if (leaf >= leaves) return {};
  return {TreeNode{0, leaf}};
}

// What of a bucket a rank adds up, whoever owns it.
Range DeviceReducer::slice_of(size_t bucket, size_t rank) const {
  const size_t begin = borders_[bucket];
  const Range slice = segment_of(borders_[bucket + 1] - begin, comm_->size(), static_cast<int>(rank));
  return {begin + slice.begin, begin + slice.end};
}

std::vector<size_t> DeviceReducer::leaves() const {
  std::vector<size_t> mine;
  if (stage_ == ZeroStage::kOne) {
    const Range share = share_of(leaves_max_, comm_->size(), comm_->rank());
    for (size_t leaf = share.begin; leaf < std::min(share.end, leaves_); ++leaf) mine.push_back(leaf);
  } else {
    for (size_t leaf = rank_; leaf < leaves_; leaf += ranks_) mine.push_back(leaf);
  }
  return mine;
}

void DeviceReducer::begin_step(size_t leaves, cuda::Stream* compute) {
  CHECK(leaves > 0 && leaves <= leaves_max_);
  const Range share = share_of(leaves_max_, comm_->size(), comm_->rank());
  compute_ = compute;
  leaves_ = leaves;
  leaves_begun_ = round_ = buckets_left_ = 0;
  has_reduced_ = false;
  own_ = TreeStack(leaves, share.begin, share.end);
  total_ = TreeStack(leaves, 0, leaves);
  plan_round();
}

// The additions of a round, which are the same for every bucket.
void DeviceReducer::plan_round() {
  const size_t partial = stage_ == ZeroStage::kOne ? 1 : partial_.size();
  nodes_.clear();
  additions_.clear();
  moves_.clear();
  size_t place = partial;
  for (size_t rank = 0; rank < ranks_; ++rank) {
    nodes_.push_back(nodes_of(leaves_, round_, rank));
    for (const TreeNode node : nodes_.back()) {
      const auto more = total_.push(node, place++);
      additions_.insert(additions_.end(), more.begin(), more.end());
    }
  }
  // What is left waits for the next round where that leaves it alone.
  for (size_t i = 0; i < total_.sums().size(); ++i) {
    CHECK(i < partial);
    if (total_.sums()[i].place == i) continue;
    moves_.push_back({total_.sums()[i].place, i});
    total_.move(i, i);
  }
}

Result<float*> DeviceReducer::begin_leaf() {
  const auto mine = leaves();
  CHECK(buckets_left_ == 0 && leaves_begun_ < mine.size());
  const size_t leaf = mine[leaves_begun_++];
  // What this micro-batch overwrites has been added or sent.
  if (has_reduced_ && ranks_ > 1) RETURN_IF_ERROR(compute_->wait(is_reduced_));
  buckets_left_ = buckets();
  size_t place = 0;
  if (stage_ == ZeroStage::kOne) {
    place = own_.sums().size();
    CHECK(place < gradients_.size());
    own_additions_ = own_.push({0, leaf}, place);
  }
  return gradients_[place].data<float>();
}

Status DeviceReducer::ready(size_t bucket) {
  CHECK(bucket <= buckets_left_);
  if (bucket == buckets_left_) return Status::ok();
  const bool is_last = leaves_begun_ == leaves().size();
  // Alone, additions of parts cost launches and hide nothing.
  if (ranks_ == 1 && bucket > 0) return Status::ok();
  RETURN_IF_ERROR(begin_reducing());
  const size_t begin = borders_[bucket], end = borders_[buckets_left_];
  for (const auto& addition : own_additions_) {
    RETURN_IF_ERROR(cuda::tree_add(end - begin, gradients_[addition.from].data<float>() + begin,
                                   gradients_[addition.to].data<float>() + begin, stream()->get()));
  }
  while (buckets_left_ > bucket) {
    --buckets_left_;
    if (is_last || stage_ == ZeroStage::kTwo) RETURN_IF_ERROR(reduce_bucket(buckets_left_));
  }
  return end_reducing();
}

Result<float*> DeviceReducer::finish() {
  CHECK(buckets_left_ == 0 && leaves_begun_ == leaves().size());
  // Rounds in which the others have a micro-batch and this rank has none.
  while (round_ < rounds_of(leaves_)) {
    RETURN_IF_ERROR(begin_reducing());
    for (size_t bucket = buckets(); bucket-- > 0;) RETURN_IF_ERROR(reduce_bucket(bucket));
    RETURN_IF_ERROR(end_reducing());
  }
  if (ranks_ > 1) RETURN_IF_ERROR(compute_->wait(is_reduced_));
  return gradients_[0].data<float>() + segment_.begin;
}

Status DeviceReducer::begin_reducing() {
  if (ranks_ == 1) return Status::ok();
  RETURN_IF_ERROR(is_ready_.record(compute_->get()));
  return reducing_.wait(is_ready_);
}

Status DeviceReducer::end_reducing() {
  has_reduced_ = true;
  return ranks_ == 1 ? Status::ok() : is_reduced_.record(reducing_.get());
}

// Where a place of the round's plan is, of this rank's slice of the bucket.
float* DeviceReducer::place_of(size_t place, size_t bucket) {
  const Range slice = slice_of(bucket, rank_);
  const size_t partial = stage_ == ZeroStage::kOne ? 1 : partial_.size();
  if (place < partial) {
    return stage_ == ZeroStage::kOne ? gradients_[0].data<float>() + slice.begin
                                     : partial_[place].data<float>() + slices_[bucket];
  }
  size_t received = 0;
  place -= partial;
  for (size_t rank = 0;; ++rank) {
    if (place < nodes_[rank].size()) {
      return rank == rank_ ? gradients_[place].data<float>() + slice.begin
                           : received_.data<float>() + (received + place) * stride_of(slice.size());
    }
    place -= nodes_[rank].size();
    if (rank != rank_) received += nodes_[rank].size();
  }
}

Status DeviceReducer::reduce_bucket(size_t bucket) {
  if (ranks_ > 1 && borders_[bucket] < borders_[bucket + 1]) {
    RETURN_IF_ERROR(exchange_sums(bucket));
    if (const size_t count = slice_of(bucket, rank_).size(); count > 0) {
      for (const auto& addition : additions_) {
        RETURN_IF_ERROR(
            cuda::tree_add(count, place_of(addition.from, bucket), place_of(addition.to, bucket), reducing_.get()));
      }
      for (const auto& move : moves_) {
        RETURN_IF_ERROR(copy(count, place_of(move.from, bucket), place_of(move.to, bucket)));
      }
    }
    if (round_ + 1 == rounds_of(leaves_)) RETURN_IF_ERROR(exchange_totals(bucket));
  }
  if (bucket == 0 && ++round_ < rounds_of(leaves_)) plan_round();
  return Status::ok();
}

Status DeviceReducer::copy(size_t count, const float* from, float* to) {
  if (to == from) return Status::ok();
  return cuda::copy_on_device(to, from, count * sizeof(float), reducing_.get());
}

Status DeviceReducer::exchange_sums(size_t bucket) {
  const size_t sums = nodes_[rank_].size(), mine = slice_of(bucket, rank_).size();
  std::vector<Bytes> outgoing(ranks_);
  std::vector<MutableBytes> incoming(ranks_);
  float* packed = sent_.data<float>();
  float* received = received_.data<float>();
  for (size_t peer = 0; peer < ranks_; ++peer) {
    if (peer == rank_) continue;
    incoming[peer] = room_at(received, length_of(nodes_[peer].size(), mine));
    received += nodes_[peer].size() * stride_of(mine);
    const Range theirs = slice_of(bucket, peer);
    if (sums == 1) {  // a whole subtree: sent from where it is
      outgoing[peer] = bytes_at(gradients_[0].data<float>() + theirs.begin, theirs.size());
      continue;
    }
    outgoing[peer] = bytes_at(packed, length_of(sums, theirs.size()));
    for (size_t i = 0; i < sums; ++i, packed += stride_of(theirs.size())) {
      RETURN_IF_ERROR(copy(theirs.size(), gradients_[i].data<float>() + theirs.begin, packed));
    }
  }
  return comm_->exchange("reduction of bucket " + std::to_string(bucket), outgoing, incoming, &reducing_);
}

// All of them are at their places in the first gradient, which this bucket's other sums have left.
Status DeviceReducer::exchange_totals(size_t bucket) {
  float* const totals = gradients_[0].data<float>();
  const Range mine = slice_of(bucket, rank_);
  RETURN_IF_ERROR(copy(mine.size(), place_of(0, bucket), totals + mine.begin));
  std::vector<Bytes> outgoing(ranks_);
  std::vector<MutableBytes> incoming(ranks_);
  for (size_t peer = 0; peer < ranks_; ++peer) {
    if (peer == rank_) continue;
    const Range to = common(mine, segment_of(parameters_, comm_->size(), static_cast<int>(peer)));
    const Range from = common(slice_of(bucket, peer), segment_);
    outgoing[peer] = bytes_at(totals + to.begin, to.size());
    incoming[peer] = room_at(totals + from.begin, from.size());
  }
  return comm_->exchange("totals of bucket " + std::to_string(bucket), outgoing, incoming, &reducing_);
}

Status DeviceReducer::all_gather(const std::string& operation, void* array, size_t item_bytes, cuda::Stream* stream) {
  std::vector<MutableBytes> all;
  for (size_t rank = 0; rank < ranks_; ++rank) {
    const Range range = segment_of(parameters_, comm_->size(), static_cast<int>(rank));
    all.emplace_back(static_cast<std::byte*>(array) + range.begin * item_bytes, range.size() * item_bytes);
  }
  return comm_->all_gather(operation, all[rank_], all, stream);
}

Status DeviceReducer::all_gather_blocks(const std::string& operation, double* blocks, cuda::Stream* stream) {
  const size_t count = (parameters_ + kernels::kBlock - 1) / kernels::kBlock;
  std::vector<MutableBytes> all;
  for (size_t rank = 0; rank < ranks_; ++rank) {
    const Range range = share_of(count, comm_->size(), static_cast<int>(rank));
    all.push_back(std::as_writable_bytes(std::span(blocks + range.begin, range.size())));
  }
  return comm_->all_gather(operation, all[rank_], all, stream);
}

}  // namespace freshet::worker
