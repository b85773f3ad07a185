// 8-bit floats with 4 bits of exponent and 3 of mantissa (e4m3: Micikevicius et al., "FP8 formats for deep learning",
// 2022): no infinities, largest 448, least 2^-9, NaN is 0x7F and 0xFF. Any thread.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace freshet::kernels {

using Float8 = uint8_t;

inline constexpr float kFloat8Max = 448.0F;

inline float float8_to_float(Float8 value) {
  const int exponent = value >> 3 & 15, mantissa = value & 7;
  const float sign = (value & 0x80) != 0 ? -1.0F : 1.0F;
  if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(0x7FC00000U);
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -9);
  return sign * std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
}

// To nearest, ties to even; what is beyond the largest becomes the largest, NaN stays NaN.
inline Float8 to_float8(float value) {
  const auto sign = static_cast<Float8>(std::bit_cast<uint32_t>(value) >> 24 & 0x80);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7F;
  if (magnitude >= kFloat8Max) return sign | 0x7E;
  // The distance of two neighbours: 2^-9 below 2^-6, else an eighth of the power of two.
  int exponent = -5;
  if (magnitude >= 0x1p-6F) std::frexp(magnitude, &exponent);
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 4 - exponent)));
  // A mantissa that rounds up to the next power of two carries into the exponent.
  return static_cast<Float8>(sign | ((exponent + 5) * 8 + steps));
}

}  // namespace freshet::kernels
