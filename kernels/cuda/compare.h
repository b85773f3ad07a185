// Whether memory on a device holds what it should, without copying it to the host. Work is queued on the stream.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

// *sum += a number that depends on every bit of the memory and its place. A border of 4 bytes, whole words. Queued on
// the stream.
Status add_checksum(const void* data, size_t bytes, uint64_t* sum, CudaStream stream);

// *bits, those of a float that is not negative, is raised to the greatest |a[i] - b[i]|; NaN is greater than all.
Status raise_to_difference(size_t count, const float* a, const float* b, uint32_t* bits, CudaStream stream);
Status raise_to_difference(size_t count, const kernels::Bfloat16* a, const kernels::Bfloat16* b, uint32_t* bits,
                           CudaStream stream);

}  // namespace freshet::cuda
