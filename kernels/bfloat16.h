// Floats cut to their upper half (bfloat16), rounded to nearest, ties to even; NaN stays NaN. Element-wise. Rows lie
// `stride` elements apart on both sides. Any thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace freshet::kernels {

using Bfloat16 = uint16_t;

void to_bfloat16(size_t rows, size_t columns, size_t stride, const float* from, Bfloat16* to);

inline Bfloat16 to_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40;  // quiet, and not rounded to an infinity
  return static_cast<Bfloat16>((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded);
}

inline float to_float(Bfloat16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

namespace ref {
void to_bfloat16(size_t rows, size_t columns, size_t stride, const float* from, Bfloat16* to);
}  // namespace ref

}  // namespace freshet::kernels
