#include "kernels/linear.h"

namespace freshet::kernels::ref {

void linear_forward(const LinearShape& shape, const float* x, const float* w, float* y) {
  for (size_t r = 0; r < shape.rows; ++r) {
    for (size_t o = 0; o < shape.outputs; ++o) {
      double sum = 0;
      for (size_t i = 0; i < shape.inputs; ++i) {
        sum += static_cast<double>(x[r * shape.inputs + i]) * static_cast<double>(w[o * shape.inputs + i]);
      }
      y[r * shape.outputs + o] = static_cast<float>(sum);
    }
  }
}

void linear_input_gradient(const LinearShape& shape, const float* dy, const float* w, float* dx) {
  for (size_t r = 0; r < shape.rows; ++r) {
    for (size_t i = 0; i < shape.inputs; ++i) {
      double sum = 0;
      for (size_t o = 0; o < shape.outputs; ++o) {
        sum += static_cast<double>(dy[r * shape.outputs + o]) * static_cast<double>(w[o * shape.inputs + i]);
      }
      dx[r * shape.inputs + i] = static_cast<float>(sum);
    }
  }
}

void linear_weight_gradient(const LinearShape& shape, const float* dy, const float* x, float* dw) {
  for (size_t o = 0; o < shape.outputs; ++o) {
    for (size_t i = 0; i < shape.inputs; ++i) {
      double sum = 0;
      for (size_t r = 0; r < shape.rows; ++r) {
        sum += static_cast<double>(dy[r * shape.outputs + o]) * static_cast<double>(x[r * shape.inputs + i]);
      }
      dw[o * shape.inputs + i] = static_cast<float>(sum);
    }
  }
}

}  // namespace freshet::kernels::ref
