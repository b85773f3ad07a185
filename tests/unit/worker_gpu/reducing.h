// A step without a model: gradients that are known, given to a DeviceReducer as a backward pass would. Tests only.
#pragma once

#include <cstring>
#include <ostream>
#include <string>
#include <vector>

#include "tests/unit/kernels_cuda/support.h"
#include "tests/unit/worker_gpu/leaf_gradients.h"
#include "worker/gpu/device_reducer.h"

namespace freshet::worker {

inline const std::vector<size_t> kBuckets = {0, 100, 1024, 3000, 5000};

// A backward pass from the last bucket to the first, over memory that is no number before; `is_early` where the device
// does the latter as soon as it may.
inline Status write_gradient(const cuda::Array<float>& values, bool is_early, float* gradient, DeviceReducer* reducer,
                             cuda::Stream* stream) {
  RETURN_IF_ERROR(cuda::fill_bytes(gradient, 0xFF, kParameters * sizeof(float), stream->get()));
  if (is_early) RETURN_IF_ERROR(stream->synchronize());
  size_t end = kParameters;
  for (size_t bucket = kBuckets.size(); bucket-- > 0;) {
    const size_t begin = kBuckets[bucket];
    RETURN_IF_ERROR(
        cuda::copy_on_device(gradient + begin, values.data() + begin, (end - begin) * sizeof(float), stream->get()));
    if (bucket != 2) RETURN_IF_ERROR(reducer->ready(bucket));  // two may be told of at once
    end = begin;
  }
  return Status::ok();
}

// The gradients of a step, and in `total` (kParameters) this rank's segment of their sum, in its place.
inline Status reduce_step(size_t leaves, const cuda::Array<float>& total, DeviceReducer* reducer,
                          std::vector<cuda::Array<float>>* kept, cuda::Stream* stream) {
  reducer->begin_step(leaves, stream);
  for (const size_t leaf : reducer->leaves()) {
    ASSIGN_OR_RETURN(float* gradient, reducer->begin_leaf());
    const bool is_early = kept->size() % 2 == 1;
    RETURN_IF_ERROR(write_gradient(kept->emplace_back(leaf_gradient(leaf)), is_early, gradient, reducer, stream));
  }
  ASSIGN_OR_RETURN(const float* segment, reducer->finish());
  return cuda::copy_on_device(total.data() + reducer->segment().begin, segment,
                              reducer->segment().size() * sizeof(float), stream->get());
}

inline Status same_bits(const std::vector<float>& expected, const float* found, const std::string& what) {
  if (expected.empty() || std::memcmp(expected.data(), found, expected.size() * sizeof(float)) == 0) {
    return Status::ok();
  }
  size_t first = 0;
  while (std::memcmp(&expected[first], &found[first], sizeof(float)) == 0) ++first;
  return corrupt(what + ": element " + std::to_string(first) + " is " + std::to_string(found[first]) + " and not " +
                 std::to_string(expected[first]));
}

// Steps of all sizes in a row, also such in which some ranks have no micro-batch, over `device`, have the bits of the
// CPU's reducer over `comm`, and of one rank.
inline Status reduce_like_the_cpu(DeviceCommunicator* device, Communicator& comm, size_t leaves_max, ZeroStage stage) {
  ASSIGN_OR_RETURN(auto reducer, DeviceReducer::create(device, kParameters, leaves_max, kBuckets, stage));
  ASSIGN_OR_RETURN(cuda::Stream stream, cuda::Stream::create());
  ASSIGN_OR_RETURN(cuda::Event done, cuda::Event::create());
  for (size_t leaves = 1; leaves <= leaves_max; leaves += 1 + leaves / 4) {
    std::vector<cuda::Array<float>> kept;
    kept.reserve(leaves);
    const cuda::Array<float> total(kParameters);
    device->begin_step();
    RETURN_IF_ERROR(reduce_step(leaves, total, &reducer, &kept, &stream));
    RETURN_IF_ERROR(reducer.all_gather("totals", total.data(), sizeof(float), &stream));
    RETURN_IF_ERROR(done.record(stream.get()));
    RETURN_IF_ERROR(device->wait(done, leaves));
    const auto found = total.values();
    ASSIGN_OR_RETURN(const auto segment, segment_on_cpu(comm, leaves, leaves_max));
    const std::string what = std::to_string(leaves) + " leaves";
    RETURN_IF_ERROR(same_bits(segment, found.data() + reducer.segment().begin, what));
    SingleCommunicator alone;
    ASSIGN_OR_RETURN(const auto all, segment_on_cpu(alone, leaves, leaves_max));
    RETURN_IF_ERROR(same_bits(all, found.data(), what + ", gathered"));
  }
  return Status::ok();
}

struct GangCase {
  int ranks = 1;
  ZeroStage stage = ZeroStage::kOne;
  std::string name() const { return std::to_string(ranks) + (stage == ZeroStage::kOne ? "Zero1" : "Zero2"); }
  friend void PrintTo(const GangCase& gang, std::ostream* out) { *out << gang.name(); }
};

inline std::vector<GangCase> gang_cases() {
  std::vector<GangCase> cases;
  for (const int ranks : {1, 2, 3, 4, 8}) {
    for (const ZeroStage stage : {ZeroStage::kOne, ZeroStage::kTwo}) cases.push_back({ranks, stage});
  }
  return cases;
}

}  // namespace freshet::worker
