// How far a stream has come, for a host that can't wait for it: a word of pinned memory that the stream writes.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

// *word = value when the stream comes to it. `word` is in PinnedMemory; the host reads it with std::atomic_ref. A
// kernel and not a copy, which would wait for large copies of other streams.
Status mark(uint32_t value, uint32_t* word, CudaStream stream);

}  // namespace freshet::cuda
