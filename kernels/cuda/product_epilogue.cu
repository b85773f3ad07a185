// Memory-bound. Bytes for each element: bias 4, with gelu 6, the gradient 6. One version: a thread has eight neighbours
// of one row.
#include "kernels/cuda/product_epilogue.h"

#include "kernels/cuda/bfloat16.cuh"
#include "kernels/cuda/gelu.cuh"
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
__device__ __forceinline__ void load(const Bfloat16* from, unsigned count, float (&values)[kVector]) {
  if (count == kVector) {
    load8(from, values);
    return;
  }
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) values[i] = i < count ? widen(from[i]) : 0.0F;
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

template <Epilogue epilogue>
__global__ void __launch_bounds__(kThreads) epilogue_kernel(Rows rows, const Bfloat16* bias, Bfloat16* z, Bfloat16* c) {
  const size_t vector = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (vector >= rows.vectors) return;
  const size_t row = vector / rows.vectors_a_row;
  const unsigned column = static_cast<unsigned>(vector % rows.vectors_a_row) * kVector;
  const unsigned count = rows.columns - column < kVector ? rows.columns - column : kVector;
  const size_t at = row * rows.stride + column;
  float values[kVector], other[kVector];
  load(c + at, count, values);
  load(epilogue == Epilogue::kGeluGradient ? z + at : bias + column, count, other);
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) {
    values[i] = epilogue == Epilogue::kGeluGradient ? values[i] * gelu_slope(other[i]) : values[i] + other[i];
  }
  if constexpr (epilogue == Epilogue::kBiasGelu) {
    store(values, count, z + at);
#pragma unroll
    for (unsigned i = 0; i < kVector; ++i) values[i] = gelu(values[i]);
  }
  store(values, count, c + at);
}

}  // namespace

Status product_epilogue(const ProductShape& shape, const ProductOperands& operands, CudaStream stream) {
  const size_t vectors_a_row = (shape.n + kVector - 1) / kVector;
  const Rows rows{shape.m * vectors_a_row, static_cast<unsigned>(vectors_a_row), static_cast<unsigned>(shape.n),
                  operands.c_stride};
  const LaunchShape grid{static_cast<unsigned>((rows.vectors + kThreads - 1) / kThreads), kThreads};
  Bfloat16* const c = static_cast<Bfloat16*>(operands.c);
  switch (shape.epilogue) {
    case Epilogue::kNone:
      return Status::ok();
    case Epilogue::kBias:
      return launch("bias", epilogue_kernel<Epilogue::kBias>, grid, stream, rows, operands.bias, operands.z, c);
    case Epilogue::kBiasGelu:
      return launch("bias_gelu", epilogue_kernel<Epilogue::kBiasGelu>, grid, stream, rows, operands.bias, operands.z,
                    c);
    case Epilogue::kGeluGradient:
      return launch("gelu_gradient", epilogue_kernel<Epilogue::kGeluGradient>, grid, stream, rows, operands.bias,
                    operands.z, c);
  }
  return internal("an epilogue without a kernel");
}

}  // namespace freshet::cuda
