// A stable sort of pairs by key on a device: CUB's radix sort, whose result does not depend on the order in which
// blocks run. Work is queued on the stream.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

// Bytes of `scratch`.
Result<size_t> radix_sort_scratch(size_t count, unsigned bits);

// The pairs, ascending by the lower `bits` bits of their keys (which have no others); equal keys stay in their order.
// Nothing may overlap. `count` is below 2^31. Borders of 256 bytes for `scratch`.
Status radix_sort_pairs(size_t count, unsigned bits, const uint32_t* keys, const uint32_t* values,
                        uint32_t* sorted_keys, uint32_t* sorted_values, std::byte* scratch, size_t scratch_bytes,
                        CudaStream stream);

}  // namespace freshet::cuda
