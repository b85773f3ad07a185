// Floats cut to their upper half (bfloat16), rounded to nearest, ties to even; NaN stays NaN. Element-wise. Rows lie
// `stride` elements apart on both sides. Any thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace freshet::kernels {

using Bfloat16 = uint16_t;

void to_bfloat16(size_t rows, size_t columns, size_t stride, const float* from, Bfloat16* to);

inline float to_float(Bfloat16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

namespace ref {
void to_bfloat16(size_t rows, size_t columns, size_t stride, const float* from, Bfloat16* to);
}  // namespace ref

}  // namespace freshet::kernels
