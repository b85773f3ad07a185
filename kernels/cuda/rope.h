// kernels/rope.h on a device, in place over bfloat16, for all sequences of a micro-batch. `table` is rope_table()'s,
// in device memory. size is a multiple of 16, strides of 8, else invalid_argument. Borders of 16 bytes. Work is queued
// on the stream.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"
#include "kernels/rope.h"

namespace freshet::cuda {

// Row r stands at position r modulo length.
Status rope_forward(const kernels::RopeShape& shape, size_t length, const float* table, kernels::Bfloat16* x,
                    CudaStream stream);
// The transpose of that rotation.
Status rope_backward(const kernels::RopeShape& shape, size_t length, const float* table, kernels::Bfloat16* dx,
                     CudaStream stream);

}  // namespace freshet::cuda
