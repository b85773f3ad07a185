#include "kernels/bias_relu.h"

#include <algorithm>

#include "kernels/cpu/multiversion.h"

namespace freshet::kernels {

FRESHET_MULTIVERSION void bias_forward(size_t rows, size_t columns, const float* __restrict bias, float* __restrict z) {
  for (size_t r = 0; r < rows; ++r) {
    float* row = z + r * columns;
    for (size_t c = 0; c < columns; ++c) row[c] += bias[c];
  }
}

FRESHET_MULTIVERSION void bias_relu_forward(size_t rows, size_t columns, const float* __restrict bias,
                                            float* __restrict z) {
  for (size_t r = 0; r < rows; ++r) {
    float* row = z + r * columns;
    for (size_t c = 0; c < columns; ++c) {
      float sum = row[c] + bias[c];
      row[c] = sum < 0 ? 0 : sum;
    }
  }
}

FRESHET_MULTIVERSION void bias_gradient(size_t rows, size_t columns, const float* __restrict dz,
                                        float* __restrict dbias) {
  std::fill(dbias, dbias + columns, 0.0F);
  for (size_t r = 0; r < rows; ++r) {
    const float* row = dz + r * columns;
    for (size_t c = 0; c < columns; ++c) dbias[c] += row[c];
  }
}

FRESHET_MULTIVERSION void bias_relu_gradient(size_t rows, size_t columns, const float* __restrict y,
                                             float* __restrict dz, float* __restrict dbias) {
  std::fill(dbias, dbias + columns, 0.0F);
  for (size_t r = 0; r < rows; ++r) {
    const float* out = y + r * columns;
    float* row = dz + r * columns;
    for (size_t c = 0; c < columns; ++c) {
      float gradient = out[c] == 0 ? 0 : row[c];
      row[c] = gradient;
      dbias[c] += gradient;
    }
  }
}

}  // namespace freshet::kernels
