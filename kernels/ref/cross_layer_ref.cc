#include "kernels/cross_layer.h"

namespace freshet::kernels::ref {

void cross_layer_forward(size_t rows, size_t width, const float* x0, const float* x, const float* bias, float* u,
                         float* y) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < width; ++c) {
      const size_t i = r * width + c;
      const double sum = static_cast<double>(u[i]) + static_cast<double>(bias[c]);
      y[i] = static_cast<float>(static_cast<double>(x0[i]) * sum + static_cast<double>(x[i]));
      u[i] = static_cast<float>(sum);
    }
  }
}

void cross_layer_gradient(size_t rows, size_t width, const float* x0, const float* u, const float* dy, float* du,
                          float* dx0, float* dbias) {
  for (size_t c = 0; c < width; ++c) {
    double sum = 0;
    for (size_t r = 0; r < rows; ++r) {
      const size_t i = r * width + c;
      const double gradient = static_cast<double>(dy[i]);
      sum += gradient * static_cast<double>(x0[i]);
      du[i] = static_cast<float>(gradient * static_cast<double>(x0[i]));
      dx0[i] = static_cast<float>(static_cast<double>(dx0[i]) + gradient * static_cast<double>(u[i]));
    }
    dbias[c] = static_cast<float>(sum);
  }
}

}  // namespace freshet::kernels::ref
