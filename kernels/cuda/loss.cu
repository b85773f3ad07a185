#include "kernels/cuda/loss.h"

#include "kernels/cuda/bfloat16.cuh"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kSumThreads = 1024;

struct Rows {
  unsigned rows;
  size_t z_stride, dz_stride;
  const float* z;
  const Bfloat16* bias;
  const float* label;
  const float* weight;
  const float* scale;
  Bfloat16* dz;
  double* losses;
};

// In double, as on a CPU, so that a row's loss keeps its digits where it is small: a hundredth of a step.
struct Binary {
  __device__ static double loss(double x, double y, double* slope) {
    const double small = exp(-fabs(x));
    *slope = (x >= 0 ? 1.0 : small) / (1.0 + small) - y;
    return log1p(small) + (x > 0 ? x : 0.0) - y * x;
  }
};

struct Squared {
  __device__ static double loss(double x, double y, double* slope) {
    *slope = 2 * (x - y);
    return (x - y) * (x - y);
  }
};

template <class Loss>
__global__ void __launch_bounds__(kThreads) one_output_kernel(Rows rows) {
  const unsigned r = blockIdx.x * blockDim.x + threadIdx.x;
  if (r >= rows.rows) return;
  const auto weight = static_cast<double>(rows.weight[r]);
  double slope = 0, loss = 0;
  if (weight != 0) {
    const float x = rows.z[r * rows.z_stride] + widen(*rows.bias);
    loss = weight * Loss::loss(static_cast<double>(x), static_cast<double>(rows.label[r]), &slope);
    slope *= weight * static_cast<double>(*rows.scale);
  }
  rows.losses[r] = loss;
  Bfloat16* dz = rows.dz + r * rows.dz_stride;
  for (size_t c = 1; c < rows.dz_stride; ++c) dz[c] = 0;
  dz[0] = narrow(static_cast<float>(slope));
}

// A warp works on a row.
__global__ void __launch_bounds__(kThreads) softmax_kernel(Rows rows, unsigned classes) {
  const unsigned lane = threadIdx.x % kWarp, r = blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (r >= rows.rows) return;
  const float* z = rows.z + r * rows.z_stride;
  Bfloat16* dz = rows.dz + r * rows.dz_stride;
  const float weight = rows.weight[r];
  const auto target = static_cast<unsigned>(rows.label[r]);
  float largest = -INFINITY;
  for (unsigned c = lane; c < classes; c += kWarp) largest = fmaxf(largest, z[c] + widen(rows.bias[c]));
  largest = warp_max(largest);
  float sum = 0;
  for (unsigned c = lane; c < classes; c += kWarp) sum += expf(z[c] + widen(rows.bias[c]) - largest);
  sum = warp_sum(sum);
  const float factor = weight * *rows.scale;
  for (unsigned c = lane; c < rows.dz_stride; c += kWarp) {
    float slope = 0;
    if (c < classes && weight != 0) {
      slope = (expf(z[c] + widen(rows.bias[c]) - largest) / sum - (c == target ? 1.0F : 0.0F)) * factor;
    }
    dz[c] = narrow(slope);
  }
  if (lane == 0) {
    const float own = z[target] + widen(rows.bias[target]);
    const double loss = log(static_cast<double>(sum)) + static_cast<double>(largest) - static_cast<double>(own);
    rows.losses[r] = weight == 0 ? 0 : static_cast<double>(weight) * loss;
  }
}

__global__ void __launch_bounds__(kSumThreads) sum_kernel(unsigned rows, const double* losses, double* sum) {
  __shared__ double scratch[kSumThreads / kWarp];
  double own = 0;
  for (unsigned r = threadIdx.x; r < rows; r += kSumThreads) own += losses[r];
  own = block_sum(own, scratch);
  if (threadIdx.x == 0) *sum = own;
}

Rows rows_of(const LossShape& shape, const float* z, const Bfloat16* bias, const float* label, const float* weight,
             const float* scale, Bfloat16* dz, double* losses) {
  return {
      static_cast<unsigned>(shape.rows), shape.z_stride, shape.dz_stride, z, bias, label, weight, scale, dz, losses};
}

unsigned blocks_for(size_t rows, unsigned rows_a_block) {
  return static_cast<unsigned>((rows + rows_a_block - 1) / rows_a_block);
}

Status add_up(size_t rows, const double* losses, double* sum, CudaStream stream) {
  return launch("sum_of_losses", sum_kernel, {1, kSumThreads}, stream, static_cast<unsigned>(rows), losses, sum);
}

}  // namespace

Status bce_with_logits(const LossShape& shape, const float* z, const Bfloat16* bias, const float* label,
                       const float* weight, const float* scale, Bfloat16* dz, double* losses, double* sum,
                       CudaStream stream) {
  RETURN_IF_ERROR(launch("bce_with_logits", one_output_kernel<Binary>, {blocks_for(shape.rows, kThreads), kThreads},
                         stream, rows_of(shape, z, bias, label, weight, scale, dz, losses)));
  return add_up(shape.rows, losses, sum, stream);
}

Status squared_error(const LossShape& shape, const float* z, const Bfloat16* bias, const float* target,
                     const float* weight, const float* scale, Bfloat16* dz, double* losses, double* sum,
                     CudaStream stream) {
  RETURN_IF_ERROR(launch("squared_error", one_output_kernel<Squared>, {blocks_for(shape.rows, kThreads), kThreads},
                         stream, rows_of(shape, z, bias, target, weight, scale, dz, losses)));
  return add_up(shape.rows, losses, sum, stream);
}

Status softmax_cross_entropy(const LossShape& shape, size_t classes, const float* z, const Bfloat16* bias,
                             const float* label, const float* weight, const float* scale, Bfloat16* dz, double* losses,
                             double* sum, CudaStream stream) {
  RETURN_IF_ERROR(launch("softmax_cross_entropy", softmax_kernel, {blocks_for(shape.rows, kThreads / kWarp), kThreads},
                         stream, rows_of(shape, z, bias, label, weight, scale, dz, losses),
                         static_cast<unsigned>(classes)));
  return add_up(shape.rows, losses, sum, stream);
}

}  // namespace freshet::cuda
