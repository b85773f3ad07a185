// A step without a model: gradients that are known, given to a DeviceReducer as a backward pass would. Tests only.
#pragma once

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

}  // namespace freshet::worker
