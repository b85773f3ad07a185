// The device's own powers of two: one instruction, relative error below 2^-22, subnormal results are zero.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace freshet::cuda {

__device__ __forceinline__ float exp2_approximate(float x) {
#if defined(__CUDACC__)
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(power) : "f"(x));
  return power;
#else
  return std::exp2(x);
#endif
}

}  // namespace freshet::cuda
