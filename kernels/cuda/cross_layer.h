// What a cross layer does beside its matrix product, on a device (kernels/cross_layer.h):
//   y = x0 * (u + bias) + x, elementwise, for u = W x.
// Values bfloat16, arithmetic float, rows of `stride` as in dense.h; a bias behind `columns` counts as 0. The sum over
// rows has an order that depends on the shape alone. Work is queued on the stream.
#pragma once

#include "kernels/cuda/dense.h"

namespace freshet::cuda {

// y may be x.
Status cross_layer_forward(const DenseShape& shape, const kernels::Bfloat16* x0, const kernels::Bfloat16* x,
                           const kernels::Bfloat16* u, const kernels::Bfloat16* bias, kernels::Bfloat16* y,
                           CudaStream stream);

// Floats of `scratch`.
size_t cross_layer_backward_scratch(const DenseShape& shape);
// In: u as forward saw it. Out: u = du = dy * x0, of which dbias, overwritten, is the sum over the rows, and dx0 = dy *
// (u + bias), added to what is there unless `is_first`. What is left is the caller's: dx = dy + du W and dW = du^T x.
Status cross_layer_backward(const DenseShape& shape, const kernels::Bfloat16* x0, const kernels::Bfloat16* bias,
                            const kernels::Bfloat16* dy, bool is_first, kernels::Bfloat16* u, kernels::Bfloat16* dx0,
                            float* dbias, float* scratch, CudaStream stream);

}  // namespace freshet::cuda
