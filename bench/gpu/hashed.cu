#include "bench/gpu/hashed.h"

#include <algorithm>

#include "kernels/cuda/sums.cuh"

namespace freshet::bench {
namespace {

constexpr unsigned kThreads = 256;
constexpr size_t kBlocksMax = 4096;

__global__ void __launch_bounds__(kThreads) fill_kernel(size_t count, uint32_t array, float bound, float* values) {
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    uint32_t x = static_cast<uint32_t>(i) * 0x9E3779B1U + array * 0x85EBCA77U;
    x ^= x >> 16;
    x *= 0x7FEB352DU;
    x ^= x >> 15;
    x *= 0x846CA68BU;
    x ^= x >> 16;
    values[i] = (static_cast<float>(x >> 8) * 0x1p-23F - 1) * bound;
  }
}

__global__ void __launch_bounds__(kThreads)
    products_kernel(size_t count, const float* a, const float* b, double* sums) {
  __shared__ double scratch[kThreads / cuda::kWarp];
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  double sum = 0;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  }
  sum = cuda::block_sum(sum, scratch);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

}  // namespace

Status fill_hashed(size_t count, uint32_t array, float bound, float* values, cuda::CudaStream stream) {
  const auto blocks = static_cast<unsigned>(std::min((count + kThreads - 1) / kThreads, kBlocksMax));
  return cuda::launch("fill_hashed", fill_kernel, {blocks, kThreads}, stream, count, array, bound, values);
}

Status sum_products(size_t count, const float* a, const float* b, double* sums, cuda::CudaStream stream) {
  return cuda::launch("sum_products", products_kernel, {kProductBlocks, kThreads}, stream, count, a, b, sums);
}

}  // namespace freshet::bench
