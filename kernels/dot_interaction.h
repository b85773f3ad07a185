// The dot products of all pairs of a row's vectors, and their gradient (the interaction of Naumov et al., "Deep
// learning recommendation model for personalization and recommendation systems", 2019). x[rows][vectors][dim] in rows
// of `x_stride` floats; out[rows][pairs] in rows of `out_stride`, where the pair of i and j < i stands at i (i - 1) / 2
// + j. What lies between the rows stays as it is. No overlap. Each sum is made in one order for a shape. Any thread.
#pragma once

#include <cstddef>

namespace freshet::kernels {

inline constexpr size_t kInteractionVectorsMax = 128;

struct DotShape {
  size_t rows = 0;
  size_t vectors = 0;  // at most kInteractionVectorsMax
  size_t dim = 0;
  size_t x_stride = 0;
  size_t out_stride = 0;

  size_t pairs() const { return vectors < 2 ? 0 : vectors * (vectors - 1) / 2; }
};

void dot_interaction_forward(const DotShape& shape, const float* x, float* out);
// dx, in rows of x_stride, is overwritten.
void dot_interaction_gradient(const DotShape& shape, const float* x, const float* dout, float* dx);

namespace ref {
void dot_interaction_forward(const DotShape& shape, const float* x, float* out);
void dot_interaction_gradient(const DotShape& shape, const float* x, const float* dout, float* dx);
}  // namespace ref

}  // namespace freshet::kernels
