// Memory-bound: an addition reads 8 bytes and writes 4 for each element, the squares read 4.
#include "kernels/cuda/reduce.h"

#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr size_t kBlocksMax = 1U << 20;  // a grid-stride loop takes the rest
constexpr unsigned kQuad = 4;            // floats of a 16-byte access
constexpr unsigned kInFlight = 8;        // of those, of a thread, in the squares

__global__ void __launch_bounds__(kThreads) tree_add_kernel(size_t count, const float* __restrict__ b, float* a) {
  const size_t quads = count / 4, stride = static_cast<size_t>(gridDim.x) * blockDim.x;
  const size_t first = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (size_t i = first; i < quads; i += stride) {
    const float4 more = reinterpret_cast<const float4*>(b)[i];
    float4 sum = reinterpret_cast<float4*>(a)[i];
    sum.x += more.x;
    sum.y += more.y;
    sum.z += more.z;
    sum.w += more.w;
    reinterpret_cast<float4*>(a)[i] = sum;
  }
  const size_t tail = quads * 4 + first;
  if (tail < count) a[tail] += b[tail];
}

// Two threads make one block's sum: each the four running sums over the elements with index 0 to 3, or 4 to 7,
// modulo 8.
__global__ void __launch_bounds__(kThreads)
    block_sums_kernel(size_t count, const float* __restrict__ values, double* __restrict__ sums) {
  const size_t thread = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const size_t begin = thread / 2 * kernels::kBlock, first = begin + thread % 2 * kQuad;
  double running[kQuad] = {};
  if (begin + kernels::kBlock <= count) {
    const float4* from = reinterpret_cast<const float4*>(values + first);
    for (unsigned i = 0; i < kernels::kBlock / kQuad; i += 2 * kInFlight) {
      float4 in[kInFlight];
#pragma unroll
      for (unsigned u = 0; u < kInFlight; ++u) in[u] = from[i + 2 * u];
#pragma unroll
      for (unsigned u = 0; u < kInFlight; ++u) {
        const double x = static_cast<double>(in[u].x), y = static_cast<double>(in[u].y);
        const double z = static_cast<double>(in[u].z), w = static_cast<double>(in[u].w);
        running[0] += x * x;
        running[1] += y * y;
        running[2] += z * z;
        running[3] += w * w;
      }
    }
  } else {
    for (size_t quad = first; quad < count; quad += 2 * kQuad) {
#pragma unroll
      for (unsigned j = 0; j < kQuad; ++j) {
        const double value = quad + j < count ? static_cast<double>(values[quad + j]) : 0.0;
        running[j] += value * value;
      }
    }
  }
  // ((0+1)+(2+3))+((4+5)+(6+7))
  double sum = (running[0] + running[1]) + (running[2] + running[3]);
  sum += __shfl_xor_sync(kFullMask, sum, 1);
  if (thread % 2 == 0 && begin < count) sums[begin / kernels::kBlock] = sum;
}

unsigned blocks_for(size_t threads) {
  return static_cast<unsigned>(std::min((threads + kThreads - 1) / kThreads, kBlocksMax));
}

}  // namespace

Status tree_add(size_t count, const float* b, float* a, CudaStream stream) {
  if (count == 0) return Status::ok();
  return launch("tree_add", tree_add_kernel, {blocks_for(std::max<size_t>(count / 4, 4)), kThreads}, stream, count, b,
                a);
}

Status block_sums_of_squares(size_t count, const float* values, double* sums, CudaStream stream) {
  const size_t blocks = (count + kernels::kBlock - 1) / kernels::kBlock;
  const size_t grid = (blocks * 2 + kThreads - 1) / kThreads;
  return launch("block_sums_of_squares", block_sums_kernel, {static_cast<unsigned>(grid), kThreads}, stream, count,
                values, sums);
}

}  // namespace freshet::cuda
