// gelu and its slope as kernels/activation.h has them, in float, with the fast exponential.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace freshet::cuda {

inline constexpr float kGeluScale = 1.5957691216F;  // 2 sqrt(2 / pi)
inline constexpr float kGeluCubic = 0.044715F;

__device__ __forceinline__ float gelu_sigmoid(float z) {
  return __fdividef(1.0F, 1.0F + __expf(-kGeluScale * z * (1.0F + kGeluCubic * z * z)));
}

__device__ __forceinline__ float gelu(float z) { return z * gelu_sigmoid(z); }

__device__ __forceinline__ float gelu_slope(float z) {
  const float sigmoid = gelu_sigmoid(z);
  return sigmoid + sigmoid * (1.0F - sigmoid) * kGeluScale * z * (1.0F + 3.0F * kGeluCubic * z * z);
}

}  // namespace freshet::cuda
