// bfloat16 in kernels: conversions, and eight of them in one 16-byte access. Rounded to nearest, ties to even.
#pragma once

#include "kernels/bfloat16.h"
#include "kernels/cuda/launch.cuh"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#endif

namespace freshet::cuda {

using kernels::Bfloat16;

__device__ __forceinline__ float widen(Bfloat16 value) { return __uint_as_float(static_cast<unsigned>(value) << 16); }

__device__ __forceinline__ Bfloat16 narrow(float value) {
#if defined(__CUDACC__)
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
  return kernels::to_bfloat16(value);
#endif
}

// `low` in the lower half: the order of two neighbours in memory.
__device__ __forceinline__ unsigned narrow_pair(float low, float high) {
#if defined(__CUDACC__)
  __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<unsigned*>(&pair);
#else
  return static_cast<unsigned>(narrow(low)) | static_cast<unsigned>(narrow(high)) << 16;
#endif
}

__device__ __forceinline__ float widen_low(unsigned pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float widen_high(unsigned pair) { return __uint_as_float(pair & 0xFFFF0000U); }

// Eight neighbours in memory, as one 16-byte access brings them.
__device__ __forceinline__ void widen8(const uint4& packed, float (&values)[8]) {
  values[0] = widen_low(packed.x);
  values[1] = widen_high(packed.x);
  values[2] = widen_low(packed.y);
  values[3] = widen_high(packed.y);
  values[4] = widen_low(packed.z);
  values[5] = widen_high(packed.z);
  values[6] = widen_low(packed.w);
  values[7] = widen_high(packed.w);
}

__device__ __forceinline__ uint4 narrow8(const float (&values)[8]) {
  return make_uint4(narrow_pair(values[0], values[1]), narrow_pair(values[2], values[3]),
                    narrow_pair(values[4], values[5]), narrow_pair(values[6], values[7]));
}

// From and to a border of 16 bytes.
__device__ __forceinline__ uint4 packed8(const Bfloat16* from) { return *reinterpret_cast<const uint4*>(from); }

__device__ __forceinline__ void load8(const Bfloat16* from, float (&values)[8]) { widen8(packed8(from), values); }

__device__ __forceinline__ void store8(const float (&values)[8], Bfloat16* to) {
  *reinterpret_cast<uint4*>(to) = narrow8(values);
}

}  // namespace freshet::cuda
