// The arithmetic of LinearObjective. Tests only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"

namespace freshet::worker {

// A row of a micro-batch, as the device is told of it.
struct LinearRow {
  uint32_t example = 0;
  float target = 0;
  float scale = 0;  // of its gradient; 0: the row does not count
};

// residuals[r] = x_r . weights - target, 0 for rows that do not count; gradient = sum of scale * residual * x_r; *loss
// = half the sum of the residuals' squares. x_r is a function of the example.
Status linear_forward_backward(size_t rows, size_t parameters, const LinearRow* batch, const kernels::Bfloat16* weights,
                               float* residuals, float* gradient, double* loss, cuda::CudaStream stream);

}  // namespace freshet::worker
