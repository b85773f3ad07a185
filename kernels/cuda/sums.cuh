// Sums and maxima over a warp and a block, in an order that never changes. All threads of the warp or block call.
#pragma once

#include <type_traits>

#include "kernels/cuda/launch.cuh"

namespace freshet::cuda {

inline constexpr unsigned kWarp = 32;
inline constexpr unsigned kFullMask = 0xFFFFFFFFU;

// value(first) + value(first + step) + ... of those below `end`, in this order. kInFlight of them are loaded before the
// first is needed, which a loop that the compiler unrolls doesn't do.
template <unsigned kInFlight, class Value>
__device__ __forceinline__ auto strided_sum(size_t first, size_t end, size_t step, Value value) {
  using T = decltype(value(first));
  T sum = 0;
  for (size_t i = first; i < end; i += step * kInFlight) {
    T terms[kInFlight];
#pragma unroll
    for (unsigned u = 0; u < kInFlight; ++u) terms[u] = i + u * step < end ? value(i + u * step) : T{0};
#pragma unroll
    for (unsigned u = 0; u < kInFlight; ++u) sum += terms[u];
  }
  return sum;
}

// Every lane gets the sum: halves onto halves.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(kFullMask, value, distance);
  return value;
}

// Every lane gets the maximum, of floats or unsigned numbers; a float that is none is left out.
template <class T>
__device__ __forceinline__ T warp_max(T value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const T other = __shfl_xor_sync(kFullMask, value, distance);
    if constexpr (std::is_same_v<T, float>) {
      value = fmaxf(value, other);
    } else {
      value = max(value, other);
    }
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
