// Memory-bound: 2 bytes read for each element, 1 written for each of y and y_transposed. One version: a block has 128
// rows of 64 columns; a thread four vectors of 8 below each other, whose bytes it packs into words of four rows, which
// go through shared memory into rows of 128 bytes of the transposed array. A block raises the magnitude only when its
// own is above what the magnitude was when it began: thousands of atomics on one word would take longer than the rest.
#include "kernels/cuda/float8.h"

#include <algorithm>

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
constexpr unsigned kWords = kRows / 4;      // of a column
constexpr unsigned kPitch = kWords + 1;     // two vectors meet in a bank at most
constexpr unsigned kMeasuringBlocks = 128;  // few: but for a training's first step they find nothing to do
constexpr unsigned kFinite = 0x7F7FFFFFU;   // the greatest bits of a magnitude that is finite

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

__device__ __forceinline__ unsigned magnitude_bits(float value) { return __float_as_uint(value) & 0x7FFFFFFFU; }

// What an array of this greatest magnitude is scaled by; where 448 / magnitude would be no finite number, everything
// rounds to 0 all the same.
struct Scaling {
  float scale = 1, inverse = 1;
};
__device__ __forceinline__ Scaling scaling_of(unsigned bits) {
  const float greatest = __uint_as_float(bits);
  if (bits > kFinite || greatest <= 0x1p-100F) return {};
  return {__fdiv_rn(greatest, kernels::kFloat8Max), __fdiv_rn(kernels::kFloat8Max, greatest)};
}

__global__ void __launch_bounds__(kThreads)
    begin_step_kernel(size_t count, const Float8History* histories, Float8Scale* scales) {
  const size_t i = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  unsigned greatest = 0;
  for (float magnitude : histories[i].magnitudes) greatest = max(greatest, __float_as_uint(magnitude));
  const Scaling scaling = scaling_of(greatest);
  scales[i] = {scaling.scale, histories[i].steps > 0 ? scaling.inverse : 0.0F, 0, 0};
}

__global__ void __launch_bounds__(kThreads) begin_micro_batch_kernel(size_t count, Float8Scale* scales) {
  const size_t i = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) scales[i].moment = 0;
}

__global__ void __launch_bounds__(kThreads) measure_kernel(Float8Shape shape, const Bfloat16* x, Float8Scale* scale) {
  if (scale->inverse != 0) return;
  const size_t vectors = shape.columns / kVector, end = shape.rows * vectors;
  const size_t step = static_cast<size_t>(gridDim.x) * kThreads;
  unsigned bits = 0;
  for (size_t i = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x; i < end; i += step) {
    float values[kVector];
    load8(x + i / vectors * shape.x_stride + i % vectors * kVector, values);
#pragma unroll
    for (float value : values) bits = max(bits, magnitude_bits(value));
  }
  bits = warp_max(bits);
  if (threadIdx.x % kWarp == 0 && bits > 0) atomicMax(&scale->moment, bits);
}

__global__ void __launch_bounds__(kThreads)
    quantize_kernel(Float8Shape shape, const Bfloat16* x, Float8Scale* scale, Float8* y, Float8* y_transposed) {
  __shared__ unsigned words[kColumns * kPitch];
  __shared__ unsigned magnitudes[kThreads / kWarp];
  const unsigned vector = threadIdx.x % kVectors, group = threadIdx.x / kVectors;
  const size_t first_row = static_cast<size_t>(blockIdx.y) * kRows,
               first_column = static_cast<size_t>(blockIdx.x) * kColumns;
  const size_t row = first_row + group * 4, column = first_column + vector * kVector;
  const Float8Scale before = *scale;
  Scaling scaling{0, before.inverse};
  if (before.inverse == 0) {
    scaling = scaling_of(before.moment);
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) scale->scale = scaling.scale;
  }
  unsigned magnitude = 0;
  if (row < shape.rows && column < shape.columns) {
    float values[4][kVector];
#pragma unroll
    for (unsigned r = 0; r < 4; ++r) load8(x + (row + r) * shape.x_stride + column, values[r]);
#pragma unroll
    for (unsigned r = 0; r < 4; ++r) {
#pragma unroll
      for (unsigned i = 0; i < kVector; ++i) {
        // As an integer: a NaN is the greatest, where fmaxf() would lose it.
        const unsigned bits = magnitude_bits(values[r][i]);
        magnitude = max(magnitude, bits);
        values[r][i] = bits > kFinite ? __uint_as_float(0x7FC00000U) : values[r][i] * scaling.inverse;
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
  magnitude = warp_max(magnitude);
  if (threadIdx.x % kWarp == 0) magnitudes[threadIdx.x / kWarp] = magnitude;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (unsigned of_warp : magnitudes) magnitude = max(magnitude, of_warp);
    if (magnitude > before.magnitude) atomicMax(&scale->magnitude, magnitude);
  }
  if (!y_transposed) return;
  const unsigned lane = threadIdx.x % kWarp;
  if (first_row + lane * 4 >= shape.rows) return;
  for (unsigned c = threadIdx.x / kWarp; c < kColumns && first_column + c < shape.columns; c += kThreads / kWarp) {
    Float8* const to = y_transposed + (first_column + c) * shape.y_transposed_stride + first_row;
    reinterpret_cast<unsigned*>(to)[lane] = words[c * kPitch + lane];
  }
}

__global__ void __launch_bounds__(kThreads) end_step_kernel(size_t count, size_t ranks, const Float8Scale* scales,
                                                            const int32_t* is_applied, Float8History* histories) {
  const size_t i = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count || *is_applied == 0) return;
  unsigned magnitude = 0;
  for (size_t rank = 0; rank < ranks; ++rank) magnitude = max(magnitude, scales[rank * count + i].magnitude);
  Float8History& history = histories[i];
  history.magnitudes[history.steps % kFloat8History] = magnitude <= kFinite ? __uint_as_float(magnitude) : 0.0F;
  ++history.steps;
}

unsigned blocks_of(size_t count) { return static_cast<unsigned>((count + kThreads - 1) / kThreads); }

}  // namespace

Status begin_float8_step(size_t count, const Float8History* histories, Float8Scale* scales, CudaStream stream) {
  return launch("begin_float8_step", begin_step_kernel, {blocks_of(count), kThreads}, stream, count, histories, scales);
}

Status begin_float8_micro_batch(size_t count, Float8Scale* scales, CudaStream stream) {
  return launch("begin_float8_micro_batch", begin_micro_batch_kernel, {blocks_of(count), kThreads}, stream, count,
                scales);
}

Status end_float8_step(size_t count, size_t ranks, const Float8Scale* scales, const int32_t* is_applied,
                       Float8History* histories, CudaStream stream) {
  return launch("end_float8_step", end_step_kernel, {blocks_of(count), kThreads}, stream, count, ranks, scales,
                is_applied, histories);
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
  const size_t vectors = shape.rows * shape.columns / kVector;
  RETURN_IF_ERROR(launch("measure_float8", measure_kernel, {std::min(blocks_of(vectors), kMeasuringBlocks), kThreads},
                         stream, shape, x, scale));
  const dim3 grid(static_cast<unsigned>((shape.columns + kColumns - 1) / kColumns), static_cast<unsigned>(row_blocks));
  return launch("quantize_float8", quantize_kernel, {grid, kThreads}, stream, shape, x, scale, y, y_transposed);
}

}  // namespace freshet::cuda
