// Memory-bound: forward reads three values an element and writes one, backward reads four and writes two.
#include "kernels/cuda/cross_layer.h"

#include "kernels/cuda/column_pass.cuh"
#include "kernels/cuda/few.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kThreads = 256;

__device__ __forceinline__ void load_bias(const Bfloat16* bias, unsigned column, unsigned columns, float (&values)[8]) {
#pragma unroll
  for (unsigned c = 0; c < 8; ++c) values[c] = column + c < columns ? widen(bias[column + c]) : 0;
}

__global__ void __launch_bounds__(kThreads)
    forward_kernel(unsigned chunks, unsigned row_chunks, unsigned columns, const Bfloat16* __restrict__ x0,
                   const Bfloat16* x, const Bfloat16* __restrict__ u, const Bfloat16* __restrict__ bias, Bfloat16* y) {
  const unsigned chunk = blockIdx.x * blockDim.x + threadIdx.x;
  if (chunk >= chunks) return;
  float features[8], below[8], map[8], biases[8];
  load8(x0 + size_t{chunk} * 8, features);
  load8(x + size_t{chunk} * 8, below);
  load8(u + size_t{chunk} * 8, map);
  load_bias(bias, chunk % row_chunks * 8, columns, biases);
#pragma unroll
  for (unsigned c = 0; c < 8; ++c) below[c] += features[c] * (map[c] + biases[c]);
  store8(below, y + size_t{chunk} * 8);
}

template <bool kIsFirst>
struct Backward {
  struct In {
    uint4 x0, dy, u, dx0;
  };
  const Bfloat16* x0;
  const Bfloat16* bias;
  const Bfloat16* dy;
  Bfloat16* u;
  Bfloat16* dx0;
  float biases[8] = {};

  __device__ void begin(unsigned column, unsigned columns) { load_bias(bias, column, columns, biases); }
  __device__ In load(size_t place) const {
    return {packed8(x0 + place), packed8(dy + place), packed8(u + place),
            kIsFirst ? make_uint4(0, 0, 0, 0) : packed8(dx0 + place)};
  }
  __device__ void row(size_t place, const In& in, float (&du)[8]) const {
    float features[8], gradient[8], map[8], sum[8];
    widen8(in.x0, features);
    widen8(in.dy, gradient);
    widen8(in.u, map);
    widen8(in.dx0, sum);
#pragma unroll
    for (unsigned c = 0; c < 8; ++c) {
      sum[c] += gradient[c] * (map[c] + biases[c]);
      du[c] = gradient[c] * features[c];
    }
    store8(sum, dx0 + place);
    store8(du, u + place);
  }
};

}  // namespace

Status cross_layer_forward(const DenseShape& shape, const Bfloat16* x0, const Bfloat16* x, const Bfloat16* u,
                           const Bfloat16* bias, Bfloat16* y, CudaStream stream) {
  const size_t row_chunks = shape.stride / 8, chunks = shape.rows * row_chunks;
  return launch("cross_layer_forward", forward_kernel,
                {static_cast<unsigned>((chunks + kThreads - 1) / kThreads), kThreads}, stream,
                static_cast<unsigned>(chunks), static_cast<unsigned>(row_chunks), static_cast<unsigned>(shape.columns),
                x0, x, u, bias, y);
}

size_t cross_layer_backward_scratch(const DenseShape& shape) {
  return ColumnPass{shape.rows, shape.columns, shape.stride}.scratch();
}

Status cross_layer_backward(const DenseShape& shape, const Bfloat16* x0, const Bfloat16* bias, const Bfloat16* dy,
                            bool is_first, Bfloat16* u, Bfloat16* dx0, float* dbias, float* scratch,
                            CudaStream stream) {
  const ColumnPass pass{shape.rows, shape.columns, shape.stride};
  if (is_first) {
    return run_column_pass("cross_layer_backward", pass, Backward<true>{x0, bias, dy, u, dx0}, dbias, scratch, stream);
  }
  return run_column_pass("cross_layer_backward", pass, Backward<false>{x0, bias, dy, u, dx0}, dbias, scratch, stream);
}

}  // namespace freshet::cuda
