// What a dense layer does beside its matrix products, on a device (kernels/bias_relu.h): bias and ReLU, their gradient,
// and rows that go from one place to another. Values bfloat16, in rows of `stride` elements, a multiple of 8, on a
// border of 16 bytes; what lies behind a row's `columns` has the place for it but means nothing, and stays finite if it
// is. Fewer than 2^32 elements. Sums are float, in an order that depends on the shape alone. Work is queued on the
// stream.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

struct DenseShape {
  size_t rows = 0;
  size_t columns = 0;
  size_t stride = 0;
};

// z = max(z + bias, 0); behind the columns, max(z, 0). A NaN stays one. `bias` on any border.
Status bias_relu_forward(const DenseShape& shape, const kernels::Bfloat16* bias, kernels::Bfloat16* z,
                         CudaStream stream);

// Floats of `scratch` in both of these.
size_t bias_backward_scratch(const DenseShape& shape);
// In: dz is the gradient of y = max(z, 0). Out: dz is that of z, and dbias, which is overwritten, its sum over the
// rows. Where y is 0, behind the columns, too, dz becomes 0, whatever it was.
Status bias_relu_backward(const DenseShape& shape, const kernels::Bfloat16* y, kernels::Bfloat16* dz, float* dbias,
                          float* scratch, CudaStream stream);
Status bias_backward(const DenseShape& shape, const kernels::Bfloat16* dz, float* dbias, float* scratch,
                     CudaStream stream);

// to[r][c] = from[r][c] (+ more[r][c], unless it is null), c < columns. Any strides and borders; faster where all are
// multiples of 4 elements. No overlap.
Status copy_rows(size_t rows, size_t columns, const kernels::Bfloat16* from, size_t from_stride,
                 const kernels::Bfloat16* more, size_t more_stride, kernels::Bfloat16* to, size_t to_stride,
                 CudaStream stream);
Status copy_rows(size_t rows, size_t columns, const kernels::Bfloat16* from, size_t from_stride, kernels::Bfloat16* to,
                 size_t to_stride, CudaStream stream);
Status copy_rows(size_t rows, size_t columns, const float* from, size_t from_stride, kernels::Bfloat16* to,
                 size_t to_stride, CudaStream stream);
Status copy_rows(size_t rows, size_t columns, const float* from, size_t from_stride, float* to, size_t to_stride,
                 CudaStream stream);

}  // namespace freshet::cuda
