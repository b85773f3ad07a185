#include "kernels/bias_relu.h"

namespace freshet::kernels::ref {

void bias_relu_forward(size_t rows, size_t columns, const float* bias, float* z) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) {
      float sum = z[r * columns + c] + bias[c];
      z[r * columns + c] = sum < 0 ? 0 : sum;
    }
  }
}

void bias_gradient(size_t rows, size_t columns, const float* dz, float* dbias) {
  for (size_t c = 0; c < columns; ++c) {
    double sum = 0;
    for (size_t r = 0; r < rows; ++r) sum += static_cast<double>(dz[r * columns + c]);
    dbias[c] = static_cast<float>(sum);
  }
}

void bias_relu_gradient(size_t rows, size_t columns, const float* y, float* dz, float* dbias) {
  for (size_t i = 0; i < rows * columns; ++i) {
    if (y[i] == 0) dz[i] = 0;
  }
  bias_gradient(rows, columns, dz, dbias);
}

}  // namespace freshet::kernels::ref
