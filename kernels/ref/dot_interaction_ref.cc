#include "kernels/dot_interaction.h"

namespace freshet::kernels::ref {

void dot_interaction_forward(const DotShape& shape, const float* x, float* out) {
  for (size_t r = 0; r < shape.rows; ++r) {
    const float* row = x + r * shape.x_stride;
    for (size_t i = 1; i < shape.vectors; ++i) {
      for (size_t j = 0; j < i; ++j) {
        double sum = 0;
        for (size_t d = 0; d < shape.dim; ++d) {
          sum += static_cast<double>(row[i * shape.dim + d]) * static_cast<double>(row[j * shape.dim + d]);
        }
        out[r * shape.out_stride + i * (i - 1) / 2 + j] = static_cast<float>(sum);
      }
    }
  }
}

void dot_interaction_gradient(const DotShape& shape, const float* x, const float* dout, float* dx) {
  for (size_t r = 0; r < shape.rows; ++r) {
    const float* row = x + r * shape.x_stride;
    for (size_t i = 0; i < shape.vectors; ++i) {
      for (size_t d = 0; d < shape.dim; ++d) {
        double sum = 0;
        for (size_t j = 0; j < shape.vectors; ++j) {
          if (j == i) continue;
          const size_t high = i > j ? i : j, low = i > j ? j : i;
          sum += static_cast<double>(dout[r * shape.out_stride + high * (high - 1) / 2 + low]) *
                 static_cast<double>(row[j * shape.dim + d]);
        }
        dx[r * shape.x_stride + i * shape.dim + d] = static_cast<float>(sum);
      }
    }
  }
}

}  // namespace freshet::kernels::ref
