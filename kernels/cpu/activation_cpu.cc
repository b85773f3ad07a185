#include "kernels/activation.h"

#include <algorithm>

#include "kernels/cpu/multiversion.h"
#include "kernels/cpu/vector.h"

namespace freshet::kernels {
namespace {

constexpr float kInner = 1.5957691216F;  // 2 sqrt(2 / pi)
constexpr float kCubic = 0.044715F * 1.5957691216F;

// sigmoid(2 u), where gelu(z) = z sigmoid(2 u).
FRESHET_INLINE F16 gelu_gate(F16 z) { return sigmoid_of(z * (kInner + kCubic * (z * z))); }

}  // namespace

FRESHET_MULTIVERSION void bias_gelu_forward(const Tile& tile, const float* bias, float* z, float* y) {
  for (size_t r = 0; r < tile.rows; ++r, z += tile.stride, y += tile.stride) {
    over_row(tile.columns, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      F16 sum = load_up_to(z + c, n) + load_up_to(bias + c, n);
      store_up_to(sum, z + c, n);
      store_up_to(sum * gelu_gate(sum), y + c, n);
    });
  }
}

// With s = sigmoid(w), w = 2 u: d/dz (z s) = s + z s (1 - s) dw/dz.
FRESHET_MULTIVERSION void gelu_gradient(const Tile& tile, const float* z, float* dy, float* y) {
  for (size_t r = 0; r < tile.rows; ++r, z += tile.stride, dy += tile.stride, y += tile.stride) {
    over_row(tile.columns, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      F16 v = load_up_to(z + c, n), s = gelu_gate(v);
      F16 slope = s + (v * s) * (1.0F - s) * (kInner + 3.0F * kCubic * (v * v));
      store_up_to(load_up_to(dy + c, n) * slope, dy + c, n);
      store_up_to(v * s, y + c, n);
    });
  }
}

FRESHET_MULTIVERSION void swiglu_forward(const Tile& tile, const float* gate, const float* up, float* y,
                                         size_t y_stride) {
  for (size_t r = 0; r < tile.rows; ++r, gate += tile.stride, up += tile.stride, y += y_stride) {
    over_row(tile.columns, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      F16 g = load_up_to(gate + c, n);
      store_up_to((g * sigmoid_of(g)) * load_up_to(up + c, n), y + c, n);
    });
  }
}

FRESHET_MULTIVERSION void swiglu_gradient(const Tile& tile, const float* gate, const float* up, const float* dy,
                                          float* dgate, float* dup, float* y, size_t y_stride) {
  for (size_t r = 0; r < tile.rows; ++r) {
    over_row(tile.columns, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      F16 g = load_up_to(gate + c, n), u = load_up_to(up + c, n), d = load_up_to(dy + c, n);
      F16 s = sigmoid_of(g), silu = g * s;
      store_up_to(d * silu, dup + c, n);
      store_up_to((d * u) * (s + silu * (1.0F - s)), dgate + c, n);
      store_up_to(silu * u, y + c, n);
    });
    gate += tile.stride, up += tile.stride, dgate += tile.stride, dup += tile.stride;
    dy += y_stride, y += y_stride;
  }
}

FRESHET_MULTIVERSION void bias_add(const Tile& tile, const float* __restrict bias, float* __restrict z) {
  for (size_t r = 0; r < tile.rows; ++r, z += tile.stride) {
    for (size_t c = 0; c < tile.columns; ++c) z[c] += bias[c];
  }
}

FRESHET_MULTIVERSION void column_sums(const Tile& tile, const float* __restrict z, float* __restrict sums) {
  std::fill(sums, sums + tile.columns, 0.0F);
  for (size_t r = 0; r < tile.rows; ++r, z += tile.stride) {
    for (size_t c = 0; c < tile.columns; ++c) sums[c] += z[c];
  }
}

}  // namespace freshet::kernels
