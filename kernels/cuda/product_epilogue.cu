// Memory-bound. Bytes for each element: bias 4, with gelu 6, with relu 4, the gradients 6; sums alone 2. One version:
// without sums a thread has eight neighbours of one row; with them it goes down eight columns of a piece of the rows.
#include "kernels/cuda/product_epilogue.h"

#include <algorithm>

#include "kernels/cuda/bfloat16.cuh"
#include "kernels/cuda/column_pass.cuh"
#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/launch.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kVector = 8;

struct Rows {
  size_t vectors;          // of all rows
  unsigned vectors_a_row;  // the last one may reach over the end
  unsigned columns;
  size_t stride;
};

// The vector at `from`, of which `count` elements are there.
__device__ __forceinline__ uint4 load_some(const Bfloat16* from, unsigned count) {
  if (count == kVector) return packed8(from);
  float values[kVector];
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) values[i] = i < count ? widen(from[i]) : 0.0F;
  return narrow8(values);
}

__device__ __forceinline__ void store(const float (&values)[kVector], unsigned count, Bfloat16* to) {
  if (count == kVector) {
    store8(values, to);
    return;
  }
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) {
    if (i < count) to[i] = narrow(values[i]);
  }
}

__device__ __forceinline__ unsigned count_from(unsigned column, unsigned columns) {
  return columns - column < kVector ? columns - column : kVector;
}

template <Epilogue epilogue>
__global__ void __launch_bounds__(kThreads) bias_kernel(Rows rows, const Bfloat16* bias, Bfloat16* z, Bfloat16* c) {
  const size_t vector = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (vector >= rows.vectors) return;
  const size_t row = vector / rows.vectors_a_row;
  const unsigned column = static_cast<unsigned>(vector % rows.vectors_a_row) * kVector;
  const unsigned count = count_from(column, rows.columns);
  const size_t at = row * rows.stride + column;
  float values[kVector], biases[kVector];
  widen8(load_some(c + at, count), values);
  widen8(load_some(bias + column, count), biases);
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) values[i] += biases[i];
  if constexpr (epilogue == Epilogue::kBiasGelu) store(values, count, z + at);
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) values[i] = activated(epilogue, values[i]);
  store(values, count, c + at);
}

template <Epilogue epilogue>
struct Gradient {
  struct In {
    uint4 z, c;
  };
  const Bfloat16* z;
  Bfloat16* c;
  unsigned count = 0;

  __device__ void begin(unsigned column, unsigned columns) { count = count_from(column, columns); }
  __device__ In load(size_t place) const { return {load_some(z + place, count), load_some(c + place, count)}; }
  __device__ void row(size_t place, const In& in, float (&values)[kPassColumns]) const {
    float before[kVector];
    widen8(in.z, before);
    widen8(in.c, values);
#pragma unroll
    for (unsigned i = 0; i < kVector; ++i) values[i] = gradient_before(epilogue, before[i], values[i]);
    store(values, count, c + place);
  }
};

struct Sums {
  using In = uint4;
  const Bfloat16* of;
  unsigned count = 0;

  __device__ void begin(unsigned column, unsigned columns) { count = count_from(column, columns); }
  __device__ In load(size_t place) const { return load_some(of + place, count); }
  __device__ void row(size_t, const In& in, float (&values)[kPassColumns]) const { widen8(in, values); }
};

ColumnPass pass_over(size_t rows, size_t columns, size_t stride) {
  return {rows, columns, stride,
          std::clamp<size_t>(kProductScratchBytes / sizeof(float) / columns, 1, ColumnPass::kPiecesMax)};
}

template <Epilogue epilogue>
Status add_bias(const char* name, const ProductShape& shape, const ProductOperands& operands, CudaStream stream) {
  const size_t vectors_a_row = (shape.n + kVector - 1) / kVector;
  const Rows rows{shape.m * vectors_a_row, static_cast<unsigned>(vectors_a_row), static_cast<unsigned>(shape.n),
                  operands.c_stride};
  const LaunchShape grid{static_cast<unsigned>((rows.vectors + kThreads - 1) / kThreads), kThreads};
  return launch(name, bias_kernel<epilogue>, grid, stream, rows, operands.bias, operands.z,
                static_cast<Bfloat16*>(operands.c));
}

template <Epilogue epilogue>
Status apply_gradient(const char* name, const ProductShape& shape, const ProductOperands& operands, float* scratch,
                      CudaStream stream) {
  return run_column_pass(name, pass_over(shape.m, shape.n, operands.c_stride),
                         Gradient<epilogue>{operands.z, static_cast<Bfloat16*>(operands.c)}, operands.bias_gradient,
                         scratch, stream);
}

}  // namespace

ProductShape without_epilogue(ProductShape shape) {
  shape.epilogue = Epilogue::kNone;
  return shape;
}

ProductOperands without_epilogue(ProductOperands operands) {
  operands.bias = nullptr;
  operands.z = nullptr;
  operands.bias_gradient = nullptr;
  return operands;
}

Status product_epilogue(const ProductShape& shape, const ProductOperands& operands, float* scratch, CudaStream stream) {
  switch (shape.epilogue) {
    case Epilogue::kNone:
      return Status::ok();
    case Epilogue::kBias:
      return add_bias<Epilogue::kBias>("bias", shape, operands, stream);
    case Epilogue::kBiasGelu:
      return add_bias<Epilogue::kBiasGelu>("bias_gelu", shape, operands, stream);
    case Epilogue::kBiasRelu:
      return add_bias<Epilogue::kBiasRelu>("bias_relu", shape, operands, stream);
    case Epilogue::kGeluGradient:
      return apply_gradient<Epilogue::kGeluGradient>("gelu_gradient", shape, operands, scratch, stream);
    case Epilogue::kReluGradient:
      return apply_gradient<Epilogue::kReluGradient>("relu_gradient", shape, operands, scratch, stream);
    case Epilogue::kBiasGradient:
      return run_column_pass("bias_gradient", pass_over(shape.k, shape.n, operands.b_stride),
                             Sums{static_cast<const Bfloat16*>(operands.b)}, operands.bias_gradient, scratch, stream);
  }
  return internal("an epilogue without a kernel");
}

Status product_sums(const ProductShape& shape, const ProductOperands& operands, float* scratch, CudaStream stream) {
  return run_column_pass("product_sums", pass_over(shape.m, shape.n, operands.c_stride),
                         Sums{static_cast<const Bfloat16*>(operands.c)}, operands.bias_gradient, scratch, stream);
}

}  // namespace freshet::cuda
