// kernels/dot_interaction.h on a device: x and out bfloat16, sums float, by the warp's matrix instructions. Work is
// queued on the stream. Strides and borders may be any; faster where x lies on borders of 16 bytes in rows and vectors
// of multiples of 8. invalid_argument for vectors too many or too wide for a multiprocessor's shared memory.
#pragma once

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"
#include "kernels/dot_interaction.h"

namespace freshet::cuda {

using kernels::DotShape;

// What the two below answer to such a shape.
Status check_dot_interaction(const DotShape& shape);
// out[r]: the products of all pairs.
Status dot_interaction_forward(const DotShape& shape, const kernels::Bfloat16* x, kernels::Bfloat16* out,
                               CudaStream stream);
// dx, in rows of x_stride, is overwritten.
Status dot_interaction_backward(const DotShape& shape, const kernels::Bfloat16* x, const kernels::Bfloat16* dout,
                                kernels::Bfloat16* dx, CudaStream stream);

}  // namespace freshet::cuda
