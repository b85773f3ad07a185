// Reads 4 bytes a part and column, from the cache mostly: the parts were written by the kernel before.
#include "kernels/cuda/sum_parts.h"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kRunning = 32;  // running sums of a column, each over every 32nd part
constexpr unsigned kInFlight = 4;  // parts of a thread

__global__ void __launch_bounds__(kWarp* kRunning)
    sum_parts_kernel(size_t count, size_t columns, const float* __restrict__ parts, float* sums, float* more_sums) {
  __shared__ float running[kRunning][kWarp];
  const size_t column = static_cast<size_t>(blockIdx.x) * kWarp + threadIdx.x;
  const float* from = parts + blockIdx.y * count * columns + column;
  float sum = column < columns ? strided_sum<kInFlight>(
                                     threadIdx.y, count, kRunning, [&](size_t part) { return from[part * columns]; })
                               : 0.0F;
  running[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || column >= columns) return;
#pragma unroll
  for (unsigned i = 1; i < kRunning; ++i) sum += running[i][threadIdx.x];
  (blockIdx.y == 0 ? sums : more_sums)[column] = sum;
}

}  // namespace

Status sum_parts(size_t count, size_t columns, const float* parts, float* sums, float* more_sums, CudaStream stream) {
  const auto blocks = static_cast<unsigned>((columns + kWarp - 1) / kWarp);
  return launch("sum_parts", sum_parts_kernel, {{blocks, more_sums == nullptr ? 1U : 2U}, {kWarp, kRunning}}, stream,
                count, columns, parts, sums, more_sums);
}

}  // namespace freshet::cuda
