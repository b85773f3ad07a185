// Matrix products without a library, for programs that are carried to a machine without one
// (cmake/FreshetCarried.cmake): there the CPU's model is only compared with, in small.
#include <string>
#include <vector>

#include "kernels/linear.h"
#include "kernels/matmul.h"

namespace freshet::kernels {
namespace {

float value_of(float value) { return value; }
float value_of(Bfloat16 value) { return to_float(value); }

template <class AnyMatrix>
void multiply(const MatmulShape& shape, const AnyMatrix& a, const AnyMatrix& b, float* c, size_t c_stride) {
  std::vector<float> row(shape.n);
  for (size_t i = 0; i < shape.m; ++i) {
    row.assign(shape.n, 0.0F);
    for (size_t k = 0; k < shape.k; ++k) {
      const float factor = value_of(a.transposed ? a.data[k * a.stride + i] : a.data[i * a.stride + k]);
      if (b.transposed) {
        for (size_t j = 0; j < shape.n; ++j) row[j] += factor * value_of(b.data[j * b.stride + k]);
      } else {
        for (size_t j = 0; j < shape.n; ++j) row[j] += factor * value_of(b.data[k * b.stride + j]);
      }
    }
    float* const to = c + i * c_stride;
    for (size_t j = 0; j < shape.n; ++j) to[j] = shape.accumulate ? to[j] + row[j] : row[j];
  }
}

}  // namespace

Status matmul(const MatmulShape& shape, const Matrix& a, const Matrix& b, float* c, size_t c_stride) {
  multiply(shape, a, b, c, c_stride);
  return Status::ok();
}

Status matmul(const MatmulShape& shape, const Matrix16& a, const Matrix16& b, float* c, size_t c_stride) {
  multiply(shape, a, b, c, c_stride);
  return Status::ok();
}

std::string linear_library() { return "plain loops"; }
std::string instruction_set() { return "any"; }

}  // namespace freshet::kernels
