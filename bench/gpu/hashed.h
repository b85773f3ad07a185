// Values that both sides of a benchmark make from a formula, on the device and in any order, for tables that are too
// large to be carried. With 32-bit arithmetic modulo 2^32, for element i of array a:
//   x = i * 0x9E3779B1 + a * 0x85EBCA77;  x ^= x >> 16;  x *= 0x7FEB352D;  x ^= x >> 15;  x *= 0x846CA68B;  x ^= x >>
//   16 value = ((x >> 8) * 2^-23 - 1) * bound, in float
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "kernels/cuda/stream.h"

namespace freshet::bench {

// values[i], i < count, of this array.
Status fill_hashed(size_t count, uint32_t array, float bound, float* values, cuda::CudaStream stream);

constexpr size_t kProductBlocks = 256;
// sums[b], b < kProductBlocks: together the sum of a[i] * b[i], in double.
Status sum_products(size_t count, const float* a, const float* b, double* sums, cuda::CudaStream stream);

}  // namespace freshet::bench
