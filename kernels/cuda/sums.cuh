// Sums and maxima over a warp and a block, in an order that never changes. All threads of the warp or block call.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace freshet::cuda {

inline constexpr unsigned kWarp = 32;
inline constexpr unsigned kFullMask = 0xFFFFFFFFU;

// Every lane gets the sum: halves onto halves.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(kFullMask, value, distance);
  return value;
}

__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullMask, value, distance));
  }
  return value;
}

// Every thread gets the sum of the warps' sums in their order. `scratch`: shared, one T a warp; may be used again after
// the next __syncthreads(). Blocks of whole warps.
template <class T>
__device__ __forceinline__ T block_sum(T value, T* scratch) {
  const unsigned warps = blockDim.x / kWarp;
  value = warp_sum(value);
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = value;
  __syncthreads();
  T sum = scratch[0];
  for (unsigned warp = 1; warp < warps; ++warp) sum += scratch[warp];
  return sum;
}

}  // namespace freshet::cuda
