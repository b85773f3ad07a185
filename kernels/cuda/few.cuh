// A thread's few neighbouring values, float or bfloat16, in one access: one value anywhere, or four (eight of bfloat16:
// bfloat16.cuh) on a border of their size.
#pragma once

#include "kernels/cuda/bfloat16.cuh"

namespace freshet::cuda {

__device__ __forceinline__ void load_few(const float* from, float (&values)[1]) { values[0] = *from; }
__device__ __forceinline__ void load_few(const Bfloat16* from, float (&values)[1]) { values[0] = widen(*from); }
__device__ __forceinline__ void load_few(const float* from, float (&values)[4]) {
  const float4 packed = *reinterpret_cast<const float4*>(from);
  values[0] = packed.x;
  values[1] = packed.y;
  values[2] = packed.z;
  values[3] = packed.w;
}
__device__ __forceinline__ void load_few(const Bfloat16* from, float (&values)[4]) {
  const uint2 packed = *reinterpret_cast<const uint2*>(from);
  values[0] = widen_low(packed.x);
  values[1] = widen_high(packed.x);
  values[2] = widen_low(packed.y);
  values[3] = widen_high(packed.y);
}

__device__ __forceinline__ void store_few(const float (&values)[1], float* to) { *to = values[0]; }
__device__ __forceinline__ void store_few(const float (&values)[1], Bfloat16* to) { *to = narrow(values[0]); }
__device__ __forceinline__ void store_few(const float (&values)[4], float* to) {
  *reinterpret_cast<float4*>(to) = make_float4(values[0], values[1], values[2], values[3]);
}
__device__ __forceinline__ void store_few(const float (&values)[4], Bfloat16* to) {
  *reinterpret_cast<uint2*>(to) = make_uint2(narrow_pair(values[0], values[1]), narrow_pair(values[2], values[3]));
}

}  // namespace freshet::cuda
