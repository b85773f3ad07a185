#include "kernels/matmul.h"

namespace freshet::kernels::ref {

void matmul(const MatmulShape& shape, const Matrix& a, const Matrix& b, float* c, size_t c_stride) {
  auto at = [](const Matrix& matrix, size_t row, size_t column) {
    size_t index = matrix.transposed ? column * matrix.stride + row : row * matrix.stride + column;
    return static_cast<double>(matrix.data[index]);
  };
  for (size_t i = 0; i < shape.m; ++i) {
    for (size_t j = 0; j < shape.n; ++j) {
      float* out = c + i * c_stride + j;
      double sum = shape.accumulate ? static_cast<double>(*out) : 0;
      for (size_t l = 0; l < shape.k; ++l) sum += at(a, i, l) * at(b, l, j);
      *out = static_cast<float>(sum);
    }
  }
}

}  // namespace freshet::kernels::ref
