// 8-bit operands of products (products.h, Type::kFloat8) with delayed scaling (Micikevicius et al., "FP8 formats for
// deep learning", 2022): values are scaled by the greatest magnitude of the last steps, so that none of them is read
// twice. All memory is the device's; work is queued on the stream. Magnitudes are maxima, which no order changes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"
#include "kernels/float8.h"

namespace freshet::cuda {

inline constexpr unsigned kFloat8History = 16;  // updates that a scale looks back on

// The scale of one array that is quantised once a step (an activation, a weight, a gradient), in device memory. Begins
// as zero bytes, updated once.
struct alignas(16) Float8Scale {
  float scale;         // what 8-bit values stand for is multiplied by: a_scale, b_scale of a product
  float inverse;       // what values are multiplied by before they are rounded
  uint32_t magnitude;  // the bits of the greatest magnitude since the last update
  uint32_t updates;
  float history[kFloat8History];  // magnitudes by updates modulo the length
};

// Takes the magnitudes into the histories; the scales become the greatest of a history / 448, or 1 where it is 0. A
// magnitude that is not finite counts as 0.
Status update_float8_scales(size_t count, Float8Scale* scales, CudaStream stream);

struct Float8Shape {
  size_t rows = 0, columns = 0;    // multiples of 16
  size_t x_stride = 0;             // elements; a multiple of 8
  size_t y_stride = 0;             // a multiple of 16
  size_t y_transposed_stride = 0;  // a multiple of 16
};

// y[rows][columns] = x * inverse, rounded to nearest even and held within +-448; y_transposed[columns][rows] the same,
// for products that sum over the rows. Either may be null; both, when only the magnitude is wanted. scale->magnitude is
// raised to that of x. Borders of 16 bytes.
Status quantize_float8(const Float8Shape& shape, const kernels::Bfloat16* x, Float8Scale* scale, kernels::Float8* y,
                       kernels::Float8* y_transposed, CudaStream stream);

}  // namespace freshet::cuda
