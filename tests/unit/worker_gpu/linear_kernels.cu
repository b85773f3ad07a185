#include "tests/unit/worker_gpu/linear_kernels.h"

#include "kernels/cuda/launch.cuh"

namespace freshet::worker {
namespace {

constexpr unsigned kThreads = 128;

// From -1.5 to 1.5.
__device__ float input(uint32_t example, size_t parameter) {
  return static_cast<float>((example * 31 + parameter * 17 + example * parameter) % 13) * 0.25F - 1.5F;
}

__device__ float weight(kernels::Bfloat16 value) {
  union {
    uint32_t bits;
    float number;
  } widened{};
  widened.bits = static_cast<uint32_t>(value) << 16;
  return widened.number;
}

__global__ void forward(size_t rows, size_t parameters, const LinearRow* batch, const kernels::Bfloat16* weights,
                        float* residuals) {
  if (threadIdx.x >= rows) return;
  const LinearRow row = batch[threadIdx.x];
  float sum = 0;
  for (size_t i = 0; i < parameters; ++i) sum += input(row.example, i) * weight(weights[i]);
  residuals[threadIdx.x] = row.scale == 0 ? 0 : sum - row.target;
}

__global__ void backward(size_t rows, size_t parameters, const LinearRow* batch, const float* residuals,
                         float* gradient, double* loss) {
  const size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < parameters) {
    float sum = 0;
    for (size_t r = 0; r < rows; ++r) sum += batch[r].scale * residuals[r] * input(batch[r].example, i);
    gradient[i] = sum;
  }
  if (i > 0) return;
  double squares = 0;
  for (size_t r = 0; r < rows; ++r) {
    squares += 0.5 * static_cast<double>(residuals[r]) * static_cast<double>(residuals[r]);
  }
  *loss = squares;
}

}  // namespace

Status linear_forward_backward(size_t rows, size_t parameters, const LinearRow* batch, const kernels::Bfloat16* weights,
                               float* residuals, float* gradient, double* loss, cuda::CudaStream stream) {
  RETURN_IF_ERROR(
      cuda::launch("linear_forward", forward, {1, kThreads}, stream, rows, parameters, batch, weights, residuals));
  const auto blocks = static_cast<unsigned>((parameters + kThreads - 1) / kThreads);
  return cuda::launch("linear_backward", backward, {blocks, kThreads}, stream, rows, parameters, batch, residuals,
                      gradient, loss);
}

}  // namespace freshet::worker
