// C[m][n] = op(A) * op(B), or C += that, row-major, with C in float. One call runs on the calling thread alone; the
// bits of the result depend on the shape, the values and the machine's instruction set, not on the thread or on where
// the operands lie. Who wants more threads cuts C into tiles whose shapes depend on the problem only. No overlap. Any
// thread.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "kernels/bfloat16.h"

namespace freshet::kernels {

struct MatmulShape {
  size_t m = 0;
  size_t n = 0;
  size_t k = 0;
  bool accumulate = false;  // C += instead of C =
};

struct Matrix {
  const float* data = nullptr;
  size_t stride = 0;        // elements from one row, as it is stored, to the next
  bool transposed = false;  // stored as [columns][rows]
};

// The same of bfloat16, with products and sums in float.
struct Matrix16 {
  const Bfloat16* data = nullptr;
  size_t stride = 0;
  bool transposed = false;
};

Status matmul(const MatmulShape& shape, const Matrix& a, const Matrix& b, float* c, size_t c_stride);
// unavailable where the machine's instruction set is too old for it.
Status matmul(const MatmulShape& shape, const Matrix16& a, const Matrix16& b, float* c, size_t c_stride);

namespace ref {
void matmul(const MatmulShape& shape, const Matrix& a, const Matrix& b, float* c, size_t c_stride);
}  // namespace ref

}  // namespace freshet::kernels
