// Memory-bound: an addition reads 8 bytes and writes 4 for each element, the squares read 4.
#include "kernels/cuda/reduce.h"

#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr size_t kBlocksMax = 1U << 20;  // a grid-stride loop takes the rest
constexpr unsigned kLanes = 8;           // running sums of a block of kernels::kBlock

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

// Eight threads make one block's sum: thread i the running sum over the elements with index i modulo 8.
__global__ void __launch_bounds__(kThreads)
    block_sums_kernel(size_t count, const float* __restrict__ values, double* __restrict__ sums) {
  const size_t thread = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const size_t begin = thread / kLanes * kernels::kBlock;
  const size_t end = begin + kernels::kBlock < count ? begin + kernels::kBlock : count;
  double sum = 0;
  for (size_t i = begin + thread % kLanes; i < end; i += kLanes) {
    const double value = static_cast<double>(values[i]);
    sum += value * value;
  }
  // ((0+1)+(2+3))+((4+5)+(6+7))
  sum += __shfl_xor_sync(kFullMask, sum, 1);
  sum += __shfl_xor_sync(kFullMask, sum, 2);
  sum += __shfl_xor_sync(kFullMask, sum, 4);
  if (thread % kLanes == 0 && begin < count) sums[begin / kernels::kBlock] = sum;
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
  const size_t grid = (blocks * kLanes + kThreads - 1) / kThreads;
  return launch("block_sums_of_squares", block_sums_kernel, {static_cast<unsigned>(grid), kThreads}, stream, count,
                values, sums);
}

}  // namespace freshet::cuda
