#include "kernels/rope.h"

#include <cmath>

#include "kernels/cpu/multiversion.h"
#include "kernels/cpu/vector.h"

namespace freshet::kernels {
namespace {

// `sign` -1 turns backwards.
FRESHET_INLINE void turn(const RopeShape& shape, const float* table, size_t first, float sign, float* x) {
  const size_t half = shape.size / 2;
  for (size_t r = 0; r < shape.rows; ++r) {
    const float* __restrict cosine = table + (first + r) * shape.size;
    const float* __restrict sine = cosine + half;
    for (size_t head = 0; head < shape.heads; ++head) {
      float* __restrict low = x + r * shape.stride + head * shape.size;
      float* __restrict high = low + half;
      for (size_t i = 0; i < half; ++i) {
        const float a = low[i], b = high[i], s = sign * sine[i];
        low[i] = a * cosine[i] - b * s;
        high[i] = b * cosine[i] + a * s;
      }
    }
  }
}

}  // namespace

std::vector<float> rope_table(size_t positions, size_t size, double base) {
  std::vector<float> table(positions * size);
  for (size_t p = 0; p < positions; ++p) {
    for (size_t i = 0; i < size / 2; ++i) {
      double angle = static_cast<double>(p) * std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(size));
      table[p * size + i] = static_cast<float>(std::cos(angle));
      table[p * size + size / 2 + i] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

FRESHET_MULTIVERSION void rope_forward(const RopeShape& shape, const float* table, size_t first, float* x) {
  turn(shape, table, first, 1.0F, x);
}

FRESHET_MULTIVERSION void rope_gradient(const RopeShape& shape, const float* table, size_t first, float* dx) {
  turn(shape, table, first, -1.0F, dx);
}

}  // namespace freshet::kernels
