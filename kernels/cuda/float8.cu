// Memory-bound: 2 bytes read for each element, 1 written for each of y and y_transposed. One version: a block has 128
// rows of 64 columns; a thread four vectors of 8 below each other, whose bytes it packs into words of four rows, which
// go through shared memory into rows of 128 bytes of the transposed array.
#include "kernels/cuda/float8.h"

#include "kernels/cuda/bfloat16.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sums.cuh"

#if defined(__CUDACC__)
#include <cuda_fp8.h>
#endif

namespace freshet::cuda {
namespace {

using kernels::Float8;

constexpr unsigned kThreads = 256;
constexpr unsigned kRows = 128, kColumns = 64;  // of a block
constexpr unsigned kVector = 8;
constexpr unsigned kVectors = kColumns / kVector;
constexpr unsigned kWords = kRows / 4;     // of a column
constexpr unsigned kPitch = kWords + 1;    // two vectors meet in a bank at most
constexpr unsigned kFinite = 0x7F7FFFFFU;  // the greatest bits of a magnitude that is finite

// The first in the low byte.
__device__ __forceinline__ unsigned narrow4(float a, float b, float c, float d) {
#if defined(__CUDACC__)
  const unsigned low = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
  const unsigned high = __nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, __NV_E4M3);
  return low | high << 16;
#else
  return static_cast<unsigned>(kernels::to_float8(a)) | static_cast<unsigned>(kernels::to_float8(b)) << 8 |
         static_cast<unsigned>(kernels::to_float8(c)) << 16 | static_cast<unsigned>(kernels::to_float8(d)) << 24;
#endif
}

__global__ void __launch_bounds__(kThreads)
    quantize_kernel(Float8Shape shape, const Bfloat16* x, Float8Scale* scale, Float8* y, Float8* y_transposed) {
  __shared__ unsigned words[kColumns * kPitch];
  const unsigned vector = threadIdx.x % kVectors, group = threadIdx.x / kVectors;
  const size_t first_row = static_cast<size_t>(blockIdx.y) * kRows,
               first_column = static_cast<size_t>(blockIdx.x) * kColumns;
  const size_t row = first_row + group * 4, column = first_column + vector * kVector;
  const float inverse = scale->inverse;
  float magnitude = 0;
  if (row < shape.rows && column < shape.columns) {
    float values[4][kVector];
#pragma unroll
    for (unsigned r = 0; r < 4; ++r) load8(x + (row + r) * shape.x_stride + column, values[r]);
#pragma unroll
    for (unsigned r = 0; r < 4; ++r) {
#pragma unroll
      for (unsigned i = 0; i < kVector; ++i) {
        // As an integer: a NaN is the greatest, where fmaxf() would lose it.
        const unsigned bits = __float_as_uint(values[r][i]) & 0x7FFFFFFFU;
        magnitude = __uint_as_float(max(bits, __float_as_uint(magnitude)));
        values[r][i] *= inverse;
      }
      if (y) {
        const uint2 packed = make_uint2(narrow4(values[r][0], values[r][1], values[r][2], values[r][3]),
                                        narrow4(values[r][4], values[r][5], values[r][6], values[r][7]));
        *reinterpret_cast<uint2*>(y + (row + r) * shape.y_stride + column) = packed;
      }
    }
    if (y_transposed) {
#pragma unroll
      for (unsigned i = 0; i < kVector; ++i) {
        words[(vector * kVector + i) * kPitch + group] =
            narrow4(values[0][i], values[1][i], values[2][i], values[3][i]);
      }
    }
  }
  unsigned bits = __float_as_uint(magnitude);
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) bits = max(bits, __shfl_xor_sync(kFullMask, bits, distance));
  if (threadIdx.x % kWarp == 0 && bits > 0) atomicMax(&scale->magnitude, bits);
  if (!y_transposed) return;
  __syncthreads();
  const unsigned lane = threadIdx.x % kWarp;
  if (first_row + lane * 4 >= shape.rows) return;
  for (unsigned c = threadIdx.x / kWarp; c < kColumns && first_column + c < shape.columns; c += kThreads / kWarp) {
    Float8* const to = y_transposed + (first_column + c) * shape.y_transposed_stride + first_row;
    reinterpret_cast<unsigned*>(to)[lane] = words[c * kPitch + lane];
  }
}

__global__ void __launch_bounds__(kThreads) update_kernel(size_t count, Float8Scale* scales) {
  const size_t i = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  Float8Scale& one = scales[i];
  one.history[one.updates % kFloat8History] = one.magnitude <= kFinite ? __uint_as_float(one.magnitude) : 0.0F;
  ++one.updates;
  one.magnitude = 0;
  float greatest = 0;
  for (float magnitude : one.history) greatest = fmaxf(greatest, magnitude);
  // Where 448 / greatest would be no finite number, everything rounds to 0 all the same.
  const bool is_usable = greatest > 0x1p-100F;
  one.scale = is_usable ? __fdiv_rn(greatest, kernels::kFloat8Max) : 1.0F;
  one.inverse = is_usable ? __fdiv_rn(kernels::kFloat8Max, greatest) : 1.0F;
}

}  // namespace

Status update_float8_scales(size_t count, Float8Scale* scales, CudaStream stream) {
  const auto blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  return launch("update_float8_scales", update_kernel, {blocks, kThreads}, stream, count, scales);
}

Status quantize_float8(const Float8Shape& shape, const Bfloat16* x, Float8Scale* scale, Float8* y, Float8* y_transposed,
                       CudaStream stream) {
  if (shape.rows % 16 != 0 || shape.columns % 16 != 0 || shape.x_stride % 8 != 0 || shape.y_stride % 16 != 0 ||
      shape.y_transposed_stride % 16 != 0) {
    return invalid_argument("quantize_float8: " + std::to_string(shape.rows) + " rows of " +
                            std::to_string(shape.columns) + " are no multiples of 16, or a stride is not");
  }
  const size_t row_blocks = (shape.rows + kRows - 1) / kRows;
  if (row_blocks > 65535) return invalid_argument("quantize_float8: " + std::to_string(shape.rows) + " rows");
  const dim3 grid(static_cast<unsigned>((shape.columns + kColumns - 1) / kColumns), static_cast<unsigned>(row_blocks));
  return launch("quantize_float8", quantize_kernel, {grid, kThreads}, stream, shape, x, scale, y, y_transposed);
}

}  // namespace freshet::cuda
