// Memory-bound: reads out and dout once.
#include "kernels/cuda/attention_versions.h"
#include "kernels/cuda/bfloat16.cuh"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kThreads = 256;

struct Arguments {
  const Bfloat16 *out, *dout;
  const float* log_sum;
  float *log2_sum, *delta;
  size_t out_stride;
  unsigned length, padded;
};

// `kSize` / 8 lanes a row, eight elements each.
template <int kSize>
__global__ void __launch_bounds__(kThreads) attention_statistics_kernel(const Arguments arguments) {
  constexpr unsigned kLanes = kSize / 8, kRows = kThreads / kLanes;
  const unsigned row = blockIdx.x * kRows + threadIdx.x / kLanes;
  const size_t head = static_cast<size_t>(blockIdx.z) * gridDim.y + blockIdx.y;
  const bool valid = row < arguments.length;
  float sum = 0;
  if (valid) {
    const size_t offset = (static_cast<size_t>(blockIdx.z) * arguments.length + row) * arguments.out_stride +
                          blockIdx.y * kSize + threadIdx.x % kLanes * 8;
    float out[8], dout[8];
    load8(arguments.out + offset, out);
    load8(arguments.dout + offset, dout);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum += out[i] * dout[i];
  }
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(kFullMask, sum, distance);
  if (threadIdx.x % kLanes == 0) {
    constexpr float kLog2E = 1.44269504088896340736F;
    arguments.delta[head * arguments.padded + row] = sum;
    arguments.log2_sum[head * arguments.padded + row] =
        valid ? arguments.log_sum[head * arguments.length + row] * kLog2E : 0.0F;
  }
}

template <int kSize>
Status start(const AttentionBackward& call, CudaStream stream) {
  const AttentionShape& shape = call.shape;
  const size_t padded = padded_length(shape);
  constexpr size_t kRows = kThreads / (kSize / 8);
  const dim3 grid(static_cast<unsigned>(padded / kRows), static_cast<unsigned>(shape.heads),
                  static_cast<unsigned>(shape.sequences));
  const Arguments arguments{call.out,
                            call.dout,
                            call.log_sum,
                            call.scratch,
                            call.scratch + shape.sequences * shape.heads * padded,
                            shape.out_stride,
                            static_cast<unsigned>(shape.length),
                            static_cast<unsigned>(padded)};
  return launch("attention_statistics", attention_statistics_kernel<kSize>, {grid, kThreads}, stream, arguments);
}

}  // namespace

Status attention_statistics(const AttentionBackward& call, CudaStream stream) {
  return call.shape.size == 64 ? start<64>(call, stream) : start<128>(call, stream);
}

}  // namespace freshet::cuda
