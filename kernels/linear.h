// The three matrix products of a dense layer, in float, row-major and dense: x[rows][inputs], w[outputs][inputs],
// y[rows][outputs]. Operands may not overlap. One call runs on the calling thread alone; the bits of the result depend
// on the shape, the values and the machine's instruction set, not on the thread or on where the operands lie. Any
// thread. The reference sums in double.
#pragma once

#include <cstddef>
#include <string>

#include "base/status.h"

namespace freshet::kernels {

struct LinearShape {
  size_t rows = 0;
  size_t inputs = 0;
  size_t outputs = 0;
};

// y = x * w^T
Status linear_forward(const LinearShape& shape, const float* x, const float* w, float* y);
// dx = dy * w
Status linear_input_gradient(const LinearShape& shape, const float* dy, const float* w, float* dx);
// dw = dy^T * x, summed over the rows of this call: the caller's unit of work (a micro-batch) is one call.
Status linear_weight_gradient(const LinearShape& shape, const float* dy, const float* x, float* dw);

// "oneDNN 2.6.3", of the library that is loaded.
std::string linear_library();
// What its code is made for on this machine: "avx512_core_bf16".
std::string instruction_set();

namespace ref {
void linear_forward(const LinearShape& shape, const float* x, const float* w, float* y);
void linear_input_gradient(const LinearShape& shape, const float* dy, const float* w, float* dx);
void linear_weight_gradient(const LinearShape& shape, const float* dy, const float* x, float* dw);
}  // namespace ref

}  // namespace freshet::kernels
