// Bias and ReLU of a dense layer, in place over z[rows][columns] (row-major, dense). Elementwise, so the bits depend on
// the values only; the bias gradient is summed in row order in float. `bias` may not overlap z. Any thread. Zero has
// the gradient 0. A NaN stays a NaN in both directions, so that a broken run is seen in its loss.
#pragma once

#include <cstddef>

namespace freshet::kernels {

// z += bias
void bias_forward(size_t rows, size_t columns, const float* bias, float* z);
// z = max(z + bias, 0)
void bias_relu_forward(size_t rows, size_t columns, const float* bias, float* z);
// dbias = sum of dz over the rows
void bias_gradient(size_t rows, size_t columns, const float* dz, float* dbias);
// In: dz is the gradient of the output y. Out: dz is that of z + bias, and dbias its sum over the rows.
void bias_relu_gradient(size_t rows, size_t columns, const float* y, float* dz, float* dbias);

namespace ref {
void bias_relu_forward(size_t rows, size_t columns, const float* bias, float* z);
void bias_gradient(size_t rows, size_t columns, const float* dz, float* dbias);
void bias_relu_gradient(size_t rows, size_t columns, const float* y, float* dz, float* dbias);
}  // namespace ref

}  // namespace freshet::kernels
