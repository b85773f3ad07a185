// Memory-bound: each element is read and written once, 16 bytes at a time.
#include "kernels/cuda/dense.h"

#include "kernels/cuda/column_pass.cuh"
#include "kernels/cuda/few.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kThreads = 256;

__global__ void __launch_bounds__(kThreads) bias_relu_kernel(unsigned chunks, unsigned row_chunks, unsigned columns,
                                                             const Bfloat16* __restrict__ bias, Bfloat16* z) {
  const unsigned chunk = blockIdx.x * blockDim.x + threadIdx.x;
  if (chunk >= chunks) return;
  const unsigned column = chunk % row_chunks * 8;
  float values[8];
  load8(z + size_t{chunk} * 8, values);
#pragma unroll
  for (unsigned c = 0; c < 8; ++c) {
    if (column + c < columns) values[c] += widen(bias[column + c]);
    values[c] = values[c] < 0 ? 0 : values[c];
  }
  store8(values, z + size_t{chunk} * 8);
}

struct BiasReluBackward {
  struct In {
    uint4 y, dz;
  };
  const Bfloat16* y;
  Bfloat16* dz;

  __device__ void begin(unsigned, unsigned) {}
  __device__ In load(size_t place) const { return {packed8(y + place), packed8(dz + place)}; }
  __device__ void row(size_t place, const In& in, float (&values)[8]) const {
    float outputs[8];
    widen8(in.y, outputs);
    widen8(in.dz, values);
#pragma unroll
    for (unsigned c = 0; c < 8; ++c) {
      if (outputs[c] == 0) values[c] = 0;
    }
    store8(values, dz + place);
  }
};

struct BiasBackward {
  using In = uint4;
  const Bfloat16* dz;

  __device__ void begin(unsigned, unsigned) {}
  __device__ In load(size_t place) const { return packed8(dz + place); }
  __device__ void row(size_t, const In& in, float (&values)[8]) const { widen8(in, values); }
};

template <unsigned kFew, class From, class To>
__global__ void __launch_bounds__(kThreads)
    copy_kernel(unsigned parts, unsigned row_parts, const From* __restrict__ from, size_t from_stride,
                const From* __restrict__ more, size_t more_stride, To* __restrict__ to, size_t to_stride) {
  const unsigned part = blockIdx.x * blockDim.x + threadIdx.x;
  if (part >= parts) return;
  const size_t row = part / row_parts, column = part % row_parts * kFew;
  float values[kFew], added[kFew];
  load_few(from + row * from_stride + column, values);
  if (more != nullptr) {
    load_few(more + row * more_stride + column, added);
#pragma unroll
    for (unsigned c = 0; c < kFew; ++c) values[c] += added[c];
  }
  store_few(values, to + row * to_stride + column);
}

template <class From, class To>
Status copy(size_t rows, size_t columns, const From* from, size_t from_stride, const From* more, size_t more_stride,
            To* to, size_t to_stride, CudaStream stream) {
  auto is_even = [](const void* data, size_t element) {
    return reinterpret_cast<uintptr_t>(data) % (4 * element) == 0;
  };
  const bool by_fours = (columns | from_stride | more_stride | to_stride) % 4 == 0 && is_even(from, sizeof(From)) &&
                        is_even(more, sizeof(From)) && is_even(to, sizeof(To));
  const size_t row_parts = by_fours ? columns / 4 : columns, parts = rows * row_parts;
  return launch("copy_rows", by_fours ? copy_kernel<4, From, To> : copy_kernel<1, From, To>,
                {static_cast<unsigned>((parts + kThreads - 1) / kThreads), kThreads}, stream,
                static_cast<unsigned>(parts), static_cast<unsigned>(row_parts), from, from_stride, more, more_stride,
                to, to_stride);
}

}  // namespace

Status bias_relu_forward(const DenseShape& shape, const Bfloat16* bias, Bfloat16* z, CudaStream stream) {
  const size_t row_chunks = shape.stride / 8, chunks = shape.rows * row_chunks;
  return launch("bias_relu_forward", bias_relu_kernel,
                {static_cast<unsigned>((chunks + kThreads - 1) / kThreads), kThreads}, stream,
                static_cast<unsigned>(chunks), static_cast<unsigned>(row_chunks), static_cast<unsigned>(shape.columns),
                bias, z);
}

size_t bias_backward_scratch(const DenseShape& shape) {
  return ColumnPass{shape.rows, shape.columns, shape.stride}.scratch();
}

Status bias_relu_backward(const DenseShape& shape, const Bfloat16* y, Bfloat16* dz, float* dbias, float* scratch,
                          CudaStream stream) {
  return run_column_pass("bias_relu_backward", {shape.rows, shape.columns, shape.stride}, BiasReluBackward{y, dz},
                         dbias, scratch, stream);
}

Status bias_backward(const DenseShape& shape, const Bfloat16* dz, float* dbias, float* scratch, CudaStream stream) {
  return run_column_pass("bias_backward", {shape.rows, shape.columns, shape.stride}, BiasBackward{dz}, dbias, scratch,
                         stream);
}

Status copy_rows(size_t rows, size_t columns, const Bfloat16* from, size_t from_stride, const Bfloat16* more,
                 size_t more_stride, Bfloat16* to, size_t to_stride, CudaStream stream) {
  return copy(rows, columns, from, from_stride, more, more_stride, to, to_stride, stream);
}

Status copy_rows(size_t rows, size_t columns, const Bfloat16* from, size_t from_stride, Bfloat16* to, size_t to_stride,
                 CudaStream stream) {
  return copy<Bfloat16, Bfloat16>(rows, columns, from, from_stride, nullptr, 0, to, to_stride, stream);
}

Status copy_rows(size_t rows, size_t columns, const float* from, size_t from_stride, Bfloat16* to, size_t to_stride,
                 CudaStream stream) {
  return copy<float, Bfloat16>(rows, columns, from, from_stride, nullptr, 0, to, to_stride, stream);
}

Status copy_rows(size_t rows, size_t columns, const float* from, size_t from_stride, float* to, size_t to_stride,
                 CudaStream stream) {
  return copy<float, float>(rows, columns, from, from_stride, nullptr, 0, to, to_stride, stream);
}

}  // namespace freshet::cuda
