#include "kernels/bfloat16.h"

#include "kernels/cpu/multiversion.h"

namespace freshet::kernels {

FRESHET_MULTIVERSION void to_bfloat16(size_t rows, size_t columns, size_t stride, const float* __restrict from,
                                      Bfloat16* __restrict to) {
  for (size_t r = 0; r < rows; ++r, from += stride, to += stride) {
    for (size_t c = 0; c < columns; ++c) {
      const auto bits = std::bit_cast<uint32_t>(from[c]);
      const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
      const uint32_t nan = (bits >> 16) | 0x40;  // quiet, and not rounded to an infinity
      to[c] = static_cast<Bfloat16>((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded);
    }
  }
}

}  // namespace freshet::kernels
