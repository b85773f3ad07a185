// Sixteen floats at a time, for kernels whose loops a compiler does not turn into vectors by itself. The element-wise
// operators of the compiler's vector type are used as they are; each is rounded on its own, so that a function gives
// the same bits for every instruction set that it is compiled for. Everything here is inlined into such a function.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// A vector argument's calling convention differs among instruction sets (-Wno-psabi): nothing here is ever called.
#define FRESHET_INLINE inline __attribute__((always_inline))
#define FRESHET_INLINE_LAMBDA __attribute__((always_inline))

namespace freshet::kernels {

inline constexpr size_t kLanes = 16;
using F16 = float __attribute__((vector_size(64)));
using I16 = int32_t __attribute__((vector_size(64)));

FRESHET_INLINE F16 all_of(float value) { return F16{} + value; }

FRESHET_INLINE F16 load(const float* from) {
  F16 v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

FRESHET_INLINE void store(F16 v, float* to) { std::memcpy(to, &v, sizeof v); }

// The first `count` <= 16; the others are 0.
FRESHET_INLINE F16 load_up_to(const float* from, size_t count) {
  if (count == kLanes) return load(from);
  F16 v{};
  for (size_t i = 0; i < count; ++i) v[i] = from[i];
  return v;
}

FRESHET_INLINE void store_up_to(F16 v, float* to, size_t count) {
  if (count == kLanes) return store(v, to);
  for (size_t i = 0; i < count; ++i) to[i] = v[i];
}

// The first `count` of v, `rest` in the others.
FRESHET_INLINE F16 first_lanes(F16 v, size_t count, float rest) {
  constexpr I16 kLane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return kLane < static_cast<int32_t>(count) ? v : all_of(rest);
}

// Lane i is lane i + Distance of v; the last ones repeat.
template <int32_t Distance>
FRESHET_INLINE F16 upper_lanes(F16 v) {
  constexpr I16 kLane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return __builtin_shuffle(v, (kLane + Distance) & 15);
}

// rows[i][j] <-> rows[j][i]: at distance 8, 4, 2 and 1, the halves of rows that lie so far apart change places.
FRESHET_INLINE void transpose(F16 rows[kLanes]) {
  auto exchange = [rows]<size_t Distance>() FRESHET_INLINE_LAMBDA {
    constexpr auto kApart = static_cast<int32_t>(Distance), kOther = static_cast<int32_t>(kLanes);
    I16 low, high;
    for (int32_t l = 0; l < kOther; ++l) {
      low[l] = (l & kApart) == 0 ? l : l - kApart + kOther;
      high[l] = (l & kApart) == 0 ? l + kApart : l + kOther;
    }
    for (size_t r = 0; r < kLanes; ++r) {
      if ((r & Distance) != 0) continue;
      const F16 a = rows[r], b = rows[r + Distance];
      rows[r] = __builtin_shuffle(a, b, low);
      rows[r + Distance] = __builtin_shuffle(a, b, high);
    }
  };
  exchange.template operator()<8>();
  exchange.template operator()<4>();
  exchange.template operator()<2>();
  exchange.template operator()<1>();
}

// ((0 + 8) + (4 + 12)) + ... : halves are added to each other until one is left.
FRESHET_INLINE float sum_of(F16 v) {
  v += upper_lanes<8>(v);
  v += upper_lanes<4>(v);
  v += upper_lanes<2>(v);
  return v[0] + v[1];
}

FRESHET_INLINE F16 larger(F16 a, F16 b) { return a > b ? a : b; }

FRESHET_INLINE float largest_of(F16 v) {
  v = larger(v, upper_lanes<8>(v));
  v = larger(v, upper_lanes<4>(v));
  v = larger(v, upper_lanes<2>(v));
  return v[0] > v[1] ? v[0] : v[1];
}

// step(column, count) for every 16 columns of a row, one after the other; the last call may have fewer.
template <typename Step>
FRESHET_INLINE void over_row(size_t columns, Step step) {
  size_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) step(c, kLanes);
  if (c < columns) step(c, columns - c);
}

// e^x to 2 units in the last place between -87 and 88; below, a number near the smallest normal one; NaN stays NaN.
// 2^n e^r with n the nearest integer to x / ln 2, and the Taylor polynomial of e^r of degree 7 for |r| < 0.35.
FRESHET_INLINE F16 exp_of(F16 x) {
  x = x < -87.0F ? all_of(-87.0F) : x;
  x = x > 88.0F ? all_of(88.0F) : x;
  constexpr float kToInteger = 12582912.0F;  // 1.5 * 2^23: adding it leaves no bits for a fraction
  F16 n = (x * 1.44269504F + kToInteger) - kToInteger;
  F16 r = (x - n * 0.693359375F) - n * -2.12194440e-4F;  // ln 2 in two parts, the first with few bits
  F16 p = all_of(1.0F / 5040);
  p = p * r + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  I16 exponent = (__builtin_convertvector(n, I16) + 127) << 23;
  F16 scale;
  std::memcpy(&scale, &exponent, sizeof scale);
  return p * scale;
}

FRESHET_INLINE F16 sigmoid_of(F16 x) { return 1.0F / (1.0F + exp_of(-x)); }

}  // namespace freshet::kernels
