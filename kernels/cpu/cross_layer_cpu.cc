#include "kernels/cross_layer.h"

#include <algorithm>

#include "kernels/cpu/multiversion.h"

namespace freshet::kernels {

FRESHET_MULTIVERSION void cross_layer_forward(size_t rows, size_t width, const float* x0, const float* x,
                                              const float* __restrict bias, float* __restrict u, float* y) {
  for (size_t r = 0; r < rows; ++r, x0 += width, x += width, u += width, y += width) {
    for (size_t c = 0; c < width; ++c) {
      const float sum = u[c] + bias[c];
      u[c] = sum;
      y[c] = x0[c] * sum + x[c];
    }
  }
}

FRESHET_MULTIVERSION void cross_layer_gradient(size_t rows, size_t width, const float* __restrict x0,
                                               const float* __restrict u, const float* __restrict dy,
                                               float* __restrict du, float* __restrict dx0, float* __restrict dbias) {
  std::fill(dbias, dbias + width, 0.0F);
  for (size_t r = 0; r < rows; ++r, x0 += width, u += width, dy += width, du += width, dx0 += width) {
    for (size_t c = 0; c < width; ++c) {
      const float gradient = dy[c] * x0[c];
      du[c] = gradient;
      dx0[c] += dy[c] * u[c];
      dbias[c] += gradient;
    }
  }
}

}  // namespace freshet::kernels
