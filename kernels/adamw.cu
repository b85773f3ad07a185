// AdamW on the GPU. Memory-bound: 16 bytes read and 12 written for each element.
//   version 1: one element a thread, scalar loads: the naive port. Takes any alignment.
//   version 2: four elements a thread in 16-byte loads and stores, a scalar tail. Needs arrays aligned to 16 bytes;
//   wins
//              once the arrays fill the device (fewer, wider memory instructions for the same bytes).
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "kernels/adamw.h"

namespace freshet::kernels {
namespace {

constexpr unsigned kThreads = 256;
constexpr size_t kBlocksMax = 1u << 20;  // a grid-stride loop takes the rest
constexpr size_t kVectorCountMin = 1u << 14;

__device__ __forceinline__ void update(const AdamWStep& s, float gradient, float& w, float& m, float& v) {
  float g = s.gradient_scale * gradient;
  float m1 = s.beta1 * m + (1.0F - s.beta1) * g;
  float v1 = s.beta2 * v + ((1.0F - s.beta2) * g) * g;
  float direction = (m1 * s.correction1) / (sqrtf(v1 * s.correction2) + s.epsilon);
  w = w - s.learning_rate * (direction + s.weight_decay * w);
  m = m1;
  v = v1;
}

__device__ __forceinline__ size_t first_index() { return static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ size_t stride() { return static_cast<size_t>(gridDim.x) * blockDim.x; }

__global__ void __launch_bounds__(kThreads)
    adamw_1(AdamWStep s, size_t count, const float* __restrict__ gradient, float* __restrict__ w, float* __restrict__ m,
            float* __restrict__ v) {
  for (size_t i = first_index(); i < count; i += stride()) update(s, gradient[i], w[i], m[i], v[i]);
}

__global__ void __launch_bounds__(kThreads)
    adamw_2(AdamWStep s, size_t count, const float* __restrict__ gradient, float* __restrict__ w, float* __restrict__ m,
            float* __restrict__ v) {
  size_t quads = count / 4;
  for (size_t i = first_index(); i < quads; i += stride()) {
    float4 g4 = reinterpret_cast<const float4*>(gradient)[i];
    float4 w4 = reinterpret_cast<float4*>(w)[i];
    float4 m4 = reinterpret_cast<float4*>(m)[i];
    float4 v4 = reinterpret_cast<float4*>(v)[i];
    update(s, g4.x, w4.x, m4.x, v4.x);
    update(s, g4.y, w4.y, m4.y, v4.y);
    update(s, g4.z, w4.z, m4.z, v4.z);
    update(s, g4.w, w4.w, m4.w, v4.w);
    reinterpret_cast<float4*>(w)[i] = w4;
    reinterpret_cast<float4*>(m)[i] = m4;
    reinterpret_cast<float4*>(v)[i] = v4;
  }
  size_t tail = quads * 4 + first_index();
  if (tail < count) update(s, gradient[tail], w[tail], m[tail], v[tail]);
}

bool aligned(const void* pointer, size_t alignment) { return reinterpret_cast<uintptr_t>(pointer) % alignment == 0; }

}  // namespace

Status adamw(const AdamWStep& step, size_t count, const float* gradient, float* w, float* m, float* v,
             CudaStream stream, int version) {
  if (count == 0) return Status::ok();
  if (!gradient || !w || !m || !v) return invalid_argument("adamw: an array is null");
  bool vectors = aligned(gradient, 16) && aligned(w, 16) && aligned(m, 16) && aligned(v, 16);
  if (version == 0) version = vectors && count >= kVectorCountMin ? 2 : 1;
  if (version < 1 || version > kAdamWCudaVersions) {
    return invalid_argument("adamw: there is no version " + std::to_string(version));
  }
  if (version == 2 && !vectors) return invalid_argument("adamw: version 2 needs arrays aligned to 16 bytes");

  size_t work = version == 2 ? std::max<size_t>(count / 4, 4) : count;
  unsigned blocks = static_cast<unsigned>(std::min((work + kThreads - 1) / kThreads, kBlocksMax));
  if (version == 1) {
    adamw_1<<<blocks, kThreads, 0, stream>>>(step, count, gradient, w, m, v);
  } else {
    adamw_2<<<blocks, kThreads, 0, stream>>>(step, count, gradient, w, m, v);
  }
  cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    return internal("adamw: launching version " + std::to_string(version) + " failed: " + cudaGetErrorString(error));
  }
  return Status::ok();
}

}  // namespace freshet::kernels
