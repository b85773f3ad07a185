// Losses of a batch of rows with their gradient, on a device (kernels/loss.h, and softmax with cross entropy). In:
// z[rows] in rows of `z_stride` floats, to which `bias` (bfloat16, one an output) is added. Out: the SUM of the losses,
// in double and an order that depends on the number of rows, and dz, rows of `dz_stride` bfloat16, the gradient of the
// sum times *scale; what lies between the outputs and dz_stride gets 0. weight[rows] says how much each row counts; one
// that counts 0 has no part in anything. `scale` lies in device memory. Work is queued on the stream.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

struct LossShape {
  size_t rows = 0;
  size_t z_stride = 0;
  size_t dz_stride = 0;
};

// `losses`: scratch, one a row. Label 0 or 1.
Status bce_with_logits(const LossShape& shape, const float* z, const kernels::Bfloat16* bias, const float* label,
                       const float* weight, const float* scale, kernels::Bfloat16* dz, double* losses, double* sum,
                       CudaStream stream);
Status squared_error(const LossShape& shape, const float* z, const kernels::Bfloat16* bias, const float* target,
                     const float* weight, const float* scale, kernels::Bfloat16* dz, double* losses, double* sum,
                     CudaStream stream);
// label: the number of a class, from 0.
Status softmax_cross_entropy(const LossShape& shape, size_t classes, const float* z, const kernels::Bfloat16* bias,
                             const float* label, const float* weight, const float* scale, kernels::Bfloat16* dz,
                             double* losses, double* sum, CudaStream stream);

}  // namespace freshet::cuda
