// The non-linearities of a transformer's feed-forward part, with the bias in front of them. Element-wise, so the bits
// depend on the values only. Rows lie `stride` floats apart (so that a tile of a product is served while it is in the
// cache); `stride` >= the columns. Any thread.
//   gelu(z) = z * sigmoid(2 * sqrt(2 / pi) * (z + 0.044715 z^3)), which is the form with tanh (Hendrycks and Gimpel,
//   "Gaussian error linear units", 2016);  swiglu(gate, up) = gate * sigmoid(gate) * up (Shazeer, 2020).
#pragma once

#include <cstddef>

namespace freshet::kernels {

struct Tile {
  size_t rows = 0;
  size_t columns = 0;
  size_t stride = 0;
};

// z += bias, kept for the gradient; y = gelu(z), with the same stride.
void bias_gelu_forward(const Tile& tile, const float* bias, float* z, float* y);
// In: dy is the gradient of gelu(z). Out: dy is that of z, and y = gelu(z) once more, so that it need not be kept.
void gelu_gradient(const Tile& tile, const float* z, float* dy, float* y);

// y = swiglu(gate, up); y lies `y_stride` apart, gate and up as the tile says.
void swiglu_forward(const Tile& tile, const float* gate, const float* up, float* y, size_t y_stride);
// dy and y lie `y_stride` apart. Out: dgate, dup (with the stride of the tile), y once more.
void swiglu_gradient(const Tile& tile, const float* gate, const float* up, const float* dy, float* dgate, float* dup,
                     float* y, size_t y_stride);

// z += bias
void bias_add(const Tile& tile, const float* bias, float* z);
// sums[c] = the sum of column c, in row order.
void column_sums(const Tile& tile, const float* z, float* sums);

namespace ref {
void bias_gelu_forward(const Tile& tile, const float* bias, float* z, float* y);
void gelu_gradient(const Tile& tile, const float* z, float* dy, float* y);
void swiglu_forward(const Tile& tile, const float* gate, const float* up, float* y, size_t y_stride);
void swiglu_gradient(const Tile& tile, const float* gate, const float* up, const float* dy, float* dgate, float* dup,
                     float* y, size_t y_stride);
void column_sums(const Tile& tile, const float* z, float* sums);
}  // namespace ref

}  // namespace freshet::kernels
