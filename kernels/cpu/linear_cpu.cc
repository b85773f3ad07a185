#include "kernels/linear.h"

#include "kernels/matmul.h"

namespace freshet::kernels {

Status linear_forward(const LinearShape& shape, const float* x, const float* w, float* y) {
  return matmul({shape.rows, shape.outputs, shape.inputs}, {x, shape.inputs}, {w, shape.inputs, true}, y,
                shape.outputs);
}

Status linear_input_gradient(const LinearShape& shape, const float* dy, const float* w, float* dx) {
  return matmul({shape.rows, shape.inputs, shape.outputs}, {dy, shape.outputs}, {w, shape.inputs}, dx, shape.inputs);
}

Status linear_weight_gradient(const LinearShape& shape, const float* dy, const float* x, float* dw) {
  return matmul({shape.outputs, shape.inputs, shape.rows}, {dy, shape.outputs, true}, {x, shape.inputs}, dw,
                shape.inputs);
}

}  // namespace freshet::kernels
