// Whether memory on a device holds the same bits as before, without copying it to the host.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

// *sum += a number that depends on every bit of the memory and its place. A border of 4 bytes, whole words. Queued on
// the stream.
Status add_checksum(const void* data, size_t bytes, uint64_t* sum, CudaStream stream);

}  // namespace freshet::cuda
