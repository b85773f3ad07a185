#include "kernels/bfloat16.h"

#include <cmath>

namespace freshet::kernels::ref {

// Of the two neighbours, the nearer; of two equally near, the one whose last bit is 0.
void to_bfloat16(size_t rows, size_t columns, size_t stride, const float* from, Bfloat16* to) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) {
      const float value = from[r * stride + c];
      const auto low = static_cast<Bfloat16>(std::bit_cast<uint32_t>(value) >> 16);
      if (!std::isfinite(value)) {
        to[r * stride + c] = std::isnan(value) ? low | 0x40 : low;
        continue;
      }
      const auto high = static_cast<Bfloat16>(low + 1);
      // An infinite neighbour stands for 2^128.
      auto as_double = [](Bfloat16 h) {
        const double v = static_cast<double>(to_float(h));
        return std::isinf(v) ? std::copysign(0x1p128, v) : v;
      };
      const double below = std::fabs(static_cast<double>(value) - as_double(low));
      const double above = std::fabs(as_double(high) - static_cast<double>(value));
      to[r * stride + c] = below < above || (below == above && low % 2 == 0) ? low : high;
    }
  }
}

}  // namespace freshet::kernels::ref
