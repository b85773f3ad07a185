// For a few numbers: a thread has one.
#include "kernels/cuda/divide.h"

#include "kernels/cuda/launch.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kThreads = 128;

__global__ void __launch_bounds__(kThreads) divide_kernel(size_t count, double divisor, double* values) {
  const size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) values[i] /= divisor;
}

}  // namespace

Status divide(size_t count, double divisor, double* values, CudaStream stream) {
  const auto blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  return launch("divide", divide_kernel, {blocks, kThreads}, stream, count, divisor, values);
}

}  // namespace freshet::cuda
