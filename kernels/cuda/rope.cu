// Memory-bound: 4 bytes for each element, and those of the table from the cache, once for four heads. A thread turns
// eight pairs of up to four heads of a row, with eight 16-byte accesses in flight.
#include "kernels/cuda/rope.h"

#include <string>

#include "kernels/cuda/bfloat16.cuh"
#include "kernels/cuda/launch.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kVector = 8;  // elements of a 16-byte access
constexpr unsigned kThreads = 256;
constexpr unsigned kHeads = 4;  // of a thread

__device__ __forceinline__ void load_floats(const float* from, float (&values)[kVector]) {
  const float4 low = reinterpret_cast<const float4*>(from)[0], high = reinterpret_cast<const float4*>(from)[1];
  values[0] = low.x;
  values[1] = low.y;
  values[2] = low.z;
  values[3] = low.w;
  values[4] = high.x;
  values[5] = high.y;
  values[6] = high.z;
  values[7] = high.w;
}

template <bool kBackwards>
__global__ void __launch_bounds__(kThreads)
    rope_kernel(unsigned threads, unsigned heads, unsigned half, unsigned stride, unsigned length,
                const float* __restrict__ table, Bfloat16* x) {
  const unsigned thread = blockIdx.x * kThreads + threadIdx.x;
  if (thread >= threads) return;
  const unsigned vectors = half / kVector, groups = (heads + kHeads - 1) / kHeads;
  const unsigned i = thread % vectors * kVector, first_head = thread / vectors % groups * kHeads;
  const unsigned row = thread / vectors / groups;
  uint4* at = reinterpret_cast<uint4*>(x + size_t{row} * stride + size_t{first_head} * 2 * half + i);
  uint4 lows[kHeads], highs[kHeads];
#pragma unroll
  for (unsigned head = 0; head < kHeads; ++head) {
    if (first_head + head >= heads) continue;
    lows[head] = at[head * 2 * vectors];
    highs[head] = at[head * 2 * vectors + vectors];
  }
  const float* angles = table + size_t{row % length} * 2 * half + i;
  float cosine[kVector], sine[kVector];
  load_floats(angles, cosine);
  load_floats(angles + half, sine);
#pragma unroll
  for (unsigned head = 0; head < kHeads; ++head) {
    if (first_head + head >= heads) continue;
    float low[kVector], high[kVector];
    widen8(lows[head], low);
    widen8(highs[head], high);
#pragma unroll
    for (unsigned j = 0; j < kVector; ++j) {
      const float a = low[j], b = high[j], s = kBackwards ? -sine[j] : sine[j];
      low[j] = a * cosine[j] - b * s;
      high[j] = b * cosine[j] + a * s;
    }
    // The plain assignment of the first became four stores of 4 bytes (nvcc 13.0).
    __stcg(at + head * 2 * vectors, narrow8(low));
    __stcg(at + head * 2 * vectors + vectors, narrow8(high));
  }
}

template <bool kBackwards>
Status rope(const char* name, const kernels::RopeShape& shape, size_t length, const float* table, Bfloat16* x,
            CudaStream stream) {
  const size_t groups = (shape.heads + kHeads - 1) / kHeads, threads = shape.rows * groups * (shape.size / 2 / kVector);
  if (shape.size % 16 != 0 || shape.stride % 8 != 0 || shape.stride < shape.heads * shape.size || length == 0 ||
      threads > INT32_MAX) {
    return invalid_argument("cannot turn " + std::to_string(shape.rows) + " rows of " + std::to_string(shape.heads) +
                            " heads of " + std::to_string(shape.size) + ", " + std::to_string(shape.stride) +
                            " apart: sizes are multiples of 16, strides of 8 and no less than a row");
  }
  return launch(name, rope_kernel<kBackwards>, {static_cast<unsigned>((threads + kThreads - 1) / kThreads), kThreads},
                stream, static_cast<unsigned>(threads), static_cast<unsigned>(shape.heads),
                static_cast<unsigned>(shape.size / 2), static_cast<unsigned>(shape.stride),
                static_cast<unsigned>(length), table, x);
}

}  // namespace

Status rope_forward(const kernels::RopeShape& shape, size_t length, const float* table, Bfloat16* x,
                    CudaStream stream) {
  return rope<false>("rope_forward", shape, length, table, x, stream);
}

Status rope_backward(const kernels::RopeShape& shape, size_t length, const float* table, Bfloat16* dx,
                     CudaStream stream) {
  return rope<true>("rope_backward", shape, length, table, dx, stream);
}

}  // namespace freshet::cuda
