#include "kernels/norm.h"

#include <cmath>
#include <vector>

namespace freshet::kernels::ref {
namespace {

struct Moments {
  double mean = 0, scale = 0;
};

Moments moments(const NormShape& shape, const float* h, bool centred) {
  Moments moments;
  auto width = static_cast<double>(shape.width);
  for (size_t c = 0; centred && c < shape.width; ++c) moments.mean += static_cast<double>(h[c]) / width;
  double square = 0;
  for (size_t c = 0; c < shape.width; ++c) square += std::pow(static_cast<double>(h[c]) - moments.mean, 2) / width;
  moments.scale = 1 / std::sqrt(square + static_cast<double>(shape.epsilon));
  return moments;
}

void forward(const NormShape& shape, bool centred, const float* x, const float* add, const float* weight,
             const float* bias, float* sum, float* y, float* mean, float* scale) {
  for (size_t r = 0; r < shape.rows; ++r) {
    std::vector<float> h(x + r * shape.width, x + (r + 1) * shape.width);
    for (size_t c = 0; add != nullptr && c < shape.width; ++c) {
      h[c] += add[r * shape.width + c];
      sum[r * shape.width + c] = h[c];
    }
    Moments m = moments(shape, h.data(), centred);
    for (size_t c = 0; c < shape.width; ++c) {
      double z = (static_cast<double>(h[c]) - m.mean) * m.scale * static_cast<double>(weight[c]);
      y[r * shape.width + c] = static_cast<float>(z + (bias == nullptr ? 0 : static_cast<double>(bias[c])));
    }
    if (centred) mean[r] = static_cast<float>(m.mean);
    scale[r] = static_cast<float>(m.scale);
  }
}

void gradient(const NormShape& shape, bool centred, const float* h, const float* weight, const float* dy, float* dh,
              float* dweight, float* dbias) {
  std::vector<double> weight_sum(shape.width), bias_sum(shape.width);
  auto width = static_cast<double>(shape.width);
  for (size_t r = 0; r < shape.rows; ++r) {
    const size_t row = r * shape.width;
    Moments m = moments(shape, h + row, centred);
    double mean_g = 0, mean_gz = 0;
    std::vector<double> g(shape.width), z(shape.width);
    for (size_t c = 0; c < shape.width; ++c) {
      auto d = static_cast<double>(dy[row + c]);
      z[c] = (static_cast<double>(h[row + c]) - m.mean) * m.scale;
      g[c] = d * static_cast<double>(weight[c]);
      mean_g += g[c] / width;
      mean_gz += g[c] * z[c] / width;
      weight_sum[c] += d * z[c];
      bias_sum[c] += d;
    }
    for (size_t c = 0; c < shape.width; ++c) {
      double d = m.scale * (g[c] - (centred ? mean_g : 0) - z[c] * mean_gz);
      dh[row + c] = static_cast<float>(static_cast<double>(dh[row + c]) + d);
    }
  }
  for (size_t c = 0; c < shape.width; ++c) {
    dweight[c] = static_cast<float>(weight_sum[c]);
    if (dbias != nullptr) dbias[c] = static_cast<float>(bias_sum[c]);
  }
}

}  // namespace

void layer_norm_forward(const NormShape& shape, const float* x, const float* add, const float* weight,
                        const float* bias, float* sum, float* y, float* mean, float* scale) {
  forward(shape, true, x, add, weight, bias, sum, y, mean, scale);
}

void layer_norm_gradient(const NormShape& shape, const float* h, const float* weight, const float* dy, float* dh,
                         float* dweight, float* dbias) {
  gradient(shape, true, h, weight, dy, dh, dweight, dbias);
}

void rms_norm_forward(const NormShape& shape, const float* x, const float* add, const float* weight, float* sum,
                      float* y, float* scale) {
  forward(shape, false, x, add, weight, nullptr, sum, y, nullptr, scale);
}

void rms_norm_gradient(const NormShape& shape, const float* h, const float* weight, const float* dy, float* dh,
                       float* dweight) {
  gradient(shape, false, h, weight, dy, dh, dweight, nullptr);
}

}  // namespace freshet::kernels::ref
