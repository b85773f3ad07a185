// 8-bit operands of products (products.h, Type::kFloat8) with delayed scaling (Micikevicius et al., "FP8 formats for
// deep learning", 2022): the values of an array are scaled by its greatest magnitude in the steps before, so that none
// of them is read twice. Scales change between steps alone, and the magnitudes of a step are maxima, which no order
// changes: what is made of a value depends neither on the other micro-batches of its step nor on who had them. An array
// without a history is scaled by its own magnitude each time; the device sees to that, so that a recorded graph serves
// both. All memory is the device's; work is queued on the stream. In the order of a step: begin_float8_step(), for each
// micro-batch begin_float8_micro_batch() and quantize_float8() of each array, end_float8_step().
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/stream.h"
#include "kernels/float8.h"

namespace freshet::cuda {

// Whether its tensor cores take 8-bit floats: Ada, Hopper and what came after them.
inline bool has_float8(const DeviceProperties& device) {
  return device.major > 8 || (device.major == 8 && device.minor >= 9);
}

inline constexpr unsigned kFloat8History = 16;  // steps that a scale looks back on

// What is kept of an array from step to step. Begins as zero bytes.
struct Float8History {
  float magnitudes[kFloat8History];  // the greatest of a step, by steps modulo the length
  uint32_t steps;
};

// The scale of an array in a step.
struct alignas(16) Float8Scale {
  float scale;         // what 8-bit values stand for is multiplied by: a_scale, b_scale of a product
  float inverse;       // what values are multiplied by before they are rounded; 0: there is no history
  uint32_t magnitude;  // the bits of the greatest magnitude of the step
  uint32_t moment;     // without a history: of what is quantised just now
};

// A scale becomes the greatest magnitude of its history / 448, or 1 where that is 0.
Status begin_float8_step(size_t count, const Float8History* histories, Float8Scale* scales, CudaStream stream);

// Arrays without a history are scaled by what is quantised from here on.
Status begin_float8_micro_batch(size_t count, Float8Scale* scales, CudaStream stream);

struct Float8Shape {
  size_t rows = 0, columns = 0;    // multiples of 16
  size_t x_stride = 0;             // elements; a multiple of 8
  size_t y_stride = 0;             // a multiple of 16
  size_t y_transposed_stride = 0;  // a multiple of 16
};

// y[rows][columns] = x * inverse, rounded to nearest even and held within +-448; what is not finite becomes NaN, so
// that nothing hides it. y_transposed[columns][rows]: the same, for products that sum over the rows. One of them may be
// null. scale->magnitude is raised to that of x. Borders of 16 bytes.
Status quantize_float8(const Float8Shape& shape, const kernels::Bfloat16* x, Float8Scale* scale, kernels::Float8* y,
                       kernels::Float8* y_transposed, CudaStream stream);

// Unless *is_applied is 0, the histories take in the greatest magnitudes of the step: of `ranks` times `count` scales,
// rank by rank. One that is not finite counts as 0.
Status end_float8_step(size_t count, size_t ranks, const Float8Scale* scales, const int32_t* is_applied,
                       Float8History* histories, CudaStream stream);

}  // namespace freshet::cuda
