// kernels/reduce.h on a device: the sums that cross micro-batches and ranks, with the same bits as on a CPU. All arrays
// are device memory; work is queued on the stream.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "kernels/cuda/stream.h"
#include "kernels/reduce.h"

namespace freshet::cuda {

// a += b, elementwise. Borders of 16 bytes.
Status tree_add(size_t count, const float* b, float* a, CudaStream stream);

// As kernels::block_sums_of_squares. Borders of 16 bytes.
Status block_sums_of_squares(size_t count, const float* values, double* sums, CudaStream stream);

}  // namespace freshet::cuda
