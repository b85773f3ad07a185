// oneDNN's matmul primitive, compiled once for each shape, type and thread. Internal to kernels/cpu.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "kernels/matmul.h"

namespace freshet::kernels {

enum class OperandType { kFloat32, kBfloat16 };

struct AnyMatrix {
  const void* data = nullptr;
  size_t stride = 0;
  bool transposed = false;
};

// As matmul.h says, on the calling thread; none of the three sizes is 0.
Status onednn_matmul(const MatmulShape& shape, OperandType type, const AnyMatrix& a, const AnyMatrix& b, float* c,
                     size_t c_stride);

}  // namespace freshet::kernels
