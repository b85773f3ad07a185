// Reads 4 bytes a part and column, from the cache mostly: the parts were written by the kernel before.
#include "kernels/cuda/sum_parts.h"

#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kRunning = 32;  // running sums of a column, each over every 32nd part
constexpr unsigned kInFlight = 4;  // parts of a thread

struct Sums {
  float* of[kSumsMax];
};

// Blocks (x: 32 columns, y: which of the sums).
__global__ void __launch_bounds__(kWarp* kRunning)
    sum_parts_kernel(size_t count, size_t columns, const float* __restrict__ parts, Sums sums) {
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
  // By a constant each: an array of parameters that is indexed at run time is copied to local memory.
#pragma unroll
  for (unsigned i = 0; i < kSumsMax; ++i) {
    if (blockIdx.y == i) sums.of[i][column] = sum;
  }
}

}  // namespace

Status sum_parts(size_t count, size_t columns, const float* parts, std::initializer_list<float*> sums,
                 CudaStream stream) {
  if (sums.size() == 0 || sums.size() > kSumsMax) return invalid_argument("sum_parts makes one to three sums");
  Sums all{};
  std::copy(sums.begin(), sums.end(), all.of);
  const auto blocks = static_cast<unsigned>((columns + kWarp - 1) / kWarp);
  return launch("sum_parts", sum_parts_kernel, {{blocks, static_cast<unsigned>(sums.size())}, {kWarp, kRunning}},
                stream, count, columns, parts, all);
}

}  // namespace freshet::cuda
