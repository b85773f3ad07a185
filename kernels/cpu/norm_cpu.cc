#include "kernels/norm.h"

#include <algorithm>

#include "kernels/cpu/multiversion.h"
#include "kernels/cpu/vector.h"

namespace freshet::kernels {
namespace {

// The row that is normalised: x itself, or x + add, which goes to `sum`.
FRESHET_INLINE const float* residual_row(size_t width, const float* x, const float* add, float* sum) {
  if (add == nullptr) return x;
  for (size_t c = 0; c < width; ++c) sum[c] = x[c] + add[c];
  return sum;
}

}  // namespace

FRESHET_MULTIVERSION void layer_norm_forward(const NormShape& shape, const float* x, const float* add,
                                             const float* weight, const float* bias, float* sum, float* y, float* mean,
                                             float* scale) {
  const size_t width = shape.width;
  for (size_t r = 0; r < shape.rows; ++r, x += width, y += width) {
    const float* h = residual_row(width, x, add, sum);
    if (add != nullptr) add += width, sum += width;
    F16 total{};
    over_row(width, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA { total += load_up_to(h + c, n); });
    const float m = sum_of(total) / static_cast<float>(width);
    F16 squares{};
    over_row(width, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      F16 d = load_up_to(h + c, n) - m;
      if (n < kLanes) d = first_lanes(d, n, 0);
      squares += d * d;
    });
    const float s = 1.0F / __builtin_sqrtf(sum_of(squares) / static_cast<float>(width) + shape.epsilon);
    for (size_t c = 0; c < width; ++c) y[c] = ((h[c] - m) * s) * weight[c] + bias[c];
    mean[r] = m;
    scale[r] = s;
  }
}

// With z the normalised row and g = dy * weight: dh = scale * (g - mean(g) - z * mean(g * z)).
FRESHET_MULTIVERSION void layer_norm_gradient(const NormShape& shape, const float* h, const float* weight,
                                              const float* mean, const float* scale, const float* dy, float* dh) {
  const size_t width = shape.width;
  const float share = 1.0F / static_cast<float>(width);
  for (size_t r = 0; r < shape.rows; ++r, h += width, dy += width, dh += width) {
    const float m = mean[r], s = scale[r];
    F16 sum_g{}, sum_gz{};
    over_row(width, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      F16 g = load_up_to(dy + c, n) * load_up_to(weight + c, n);
      sum_g += g;
      sum_gz += g * ((load_up_to(h + c, n) - m) * s);
    });
    const float mean_g = sum_of(sum_g) * share, mean_gz = sum_of(sum_gz) * share;
    for (size_t c = 0; c < width; ++c) {
      float z = (h[c] - m) * s;
      dh[c] += s * ((dy[c] * weight[c] - mean_g) - z * mean_gz);
    }
  }
}

FRESHET_MULTIVERSION void layer_norm_weight_gradient(const NormShape& shape, size_t begin, size_t end, const float* h,
                                                     const float* mean, const float* scale, const float* dy,
                                                     float* __restrict dweight, float* __restrict dbias) {
  std::fill(dweight + begin, dweight + end, 0.0F);
  std::fill(dbias + begin, dbias + end, 0.0F);
  for (size_t r = 0; r < shape.rows; ++r, h += shape.width, dy += shape.width) {
    const float m = mean[r], s = scale[r];
    for (size_t c = begin; c < end; ++c) {
      dweight[c] += dy[c] * ((h[c] - m) * s);
      dbias[c] += dy[c];
    }
  }
}

FRESHET_MULTIVERSION void rms_norm_forward(const NormShape& shape, const float* x, const float* add,
                                           const float* weight, float* sum, float* y, float* scale) {
  const size_t width = shape.width;
  for (size_t r = 0; r < shape.rows; ++r, x += width, y += width) {
    const float* h = residual_row(width, x, add, sum);
    if (add != nullptr) add += width, sum += width;
    F16 squares{};
    over_row(width, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      F16 v = load_up_to(h + c, n);
      squares += v * v;
    });
    const float s = 1.0F / __builtin_sqrtf(sum_of(squares) / static_cast<float>(width) + shape.epsilon);
    for (size_t c = 0; c < width; ++c) y[c] = (h[c] * s) * weight[c];
    scale[r] = s;
  }
}

// With z the normalised row and g = dy * weight: dh = scale * (g - z * mean(g * z)).
FRESHET_MULTIVERSION void rms_norm_gradient(const NormShape& shape, const float* h, const float* weight,
                                            const float* scale, const float* dy, float* dh) {
  const size_t width = shape.width;
  for (size_t r = 0; r < shape.rows; ++r, h += width, dy += width, dh += width) {
    const float s = scale[r];
    F16 sum_gz{};
    over_row(width, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      sum_gz += (load_up_to(dy + c, n) * load_up_to(weight + c, n)) * (load_up_to(h + c, n) * s);
    });
    const float mean_gz = sum_of(sum_gz) / static_cast<float>(width);
    for (size_t c = 0; c < width; ++c) dh[c] += s * (dy[c] * weight[c] - (h[c] * s) * mean_gz);
  }
}

FRESHET_MULTIVERSION void rms_norm_weight_gradient(const NormShape& shape, size_t begin, size_t end, const float* h,
                                                   const float* scale, const float* dy, float* __restrict dweight) {
  std::fill(dweight + begin, dweight + end, 0.0F);
  for (size_t r = 0; r < shape.rows; ++r, h += shape.width, dy += shape.width) {
    for (size_t c = begin; c < end; ++c) dweight[c] += dy[c] * (h[c] * scale[r]);
  }
}

}  // namespace freshet::kernels
