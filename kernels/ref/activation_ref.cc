#include "kernels/activation.h"

#include <cmath>
#include <numbers>

namespace freshet::kernels::ref {
namespace {

double gelu(double z) {
  double u = std::sqrt(2 / std::numbers::pi) * (z + 0.044715 * z * z * z);
  return 0.5 * z * (1 + std::tanh(u));
}

double gelu_slope(double z) {
  double u = std::sqrt(2 / std::numbers::pi) * (z + 0.044715 * z * z * z);
  double du = std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * z * z);
  return 0.5 * (1 + std::tanh(u)) + 0.5 * z * du / std::pow(std::cosh(u), 2);
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

void bias_gelu_forward(const Tile& tile, const float* bias, float* z, float* y) {
  for (size_t r = 0; r < tile.rows; ++r) {
    for (size_t c = 0; c < tile.columns; ++c) {
      size_t i = r * tile.stride + c;
      z[i] += bias[c];
      y[i] = static_cast<float>(gelu(static_cast<double>(z[i])));
    }
  }
}

void gelu_gradient(const Tile& tile, const float* z, float* dy, float* y) {
  for (size_t r = 0; r < tile.rows; ++r) {
    for (size_t c = 0; c < tile.columns; ++c) {
      size_t i = r * tile.stride + c;
      auto v = static_cast<double>(z[i]);
      dy[i] = static_cast<float>(static_cast<double>(dy[i]) * gelu_slope(v));
      y[i] = static_cast<float>(gelu(v));
    }
  }
}

void swiglu_forward(const Tile& tile, const float* gate, const float* up, float* y, size_t y_stride) {
  for (size_t r = 0; r < tile.rows; ++r) {
    for (size_t c = 0; c < tile.columns; ++c) {
      auto g = static_cast<double>(gate[r * tile.stride + c]), u = static_cast<double>(up[r * tile.stride + c]);
      y[r * y_stride + c] = static_cast<float>(g * sigmoid(g) * u);
    }
  }
}

void swiglu_gradient(const Tile& tile, const float* gate, const float* up, const float* dy, float* dgate, float* dup,
                     float* y, size_t y_stride) {
  for (size_t r = 0; r < tile.rows; ++r) {
    for (size_t c = 0; c < tile.columns; ++c) {
      size_t i = r * tile.stride + c;
      auto g = static_cast<double>(gate[i]), u = static_cast<double>(up[i]);
      auto d = static_cast<double>(dy[r * y_stride + c]);
      double s = sigmoid(g);
      dup[i] = static_cast<float>(d * g * s);
      dgate[i] = static_cast<float>(d * u * (s + g * s * (1 - s)));
      y[r * y_stride + c] = static_cast<float>(g * s * u);
    }
  }
}

void column_sums(const Tile& tile, const float* z, float* sums) {
  for (size_t c = 0; c < tile.columns; ++c) {
    double sum = 0;
    for (size_t r = 0; r < tile.rows; ++r) sum += static_cast<double>(z[r * tile.stride + c]);
    sums[c] = static_cast<float>(sum);
  }
}

}  // namespace freshet::kernels::ref
