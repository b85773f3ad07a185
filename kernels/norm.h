// Layer norm (Ba et al., 2016) and root-mean-square norm (Zhang and Sennrich, 2019) over the rows of x[rows][width],
// row-major and dense, with the sum of a residual connection made on the way. Sums over a row: sixteen running sums
// over the columns with the same index modulo 16, then halves onto halves; sums over rows: in row order. So a row's
// bits do not know of other rows, and both may be split among threads anywhere. Any thread; no overlap but where said.
#pragma once

#include <cstddef>

namespace freshet::kernels {

struct NormShape {
  size_t rows = 0;
  size_t width = 0;
  float epsilon = 1e-5F;
};

// h = x + add, or h = x without `add`; y = (h - mean(h)) / sqrt(variance(h) + epsilon) * weight + bias. `sum` receives
// h (may be x) where there is an `add`; mean and scale one float a row, for the gradient.
void layer_norm_forward(const NormShape& shape, const float* x, const float* add, const float* weight,
                        const float* bias, float* sum, float* y, float* mean, float* scale);
// dh += the gradient of h, given dy; h is what was normalised.
void layer_norm_gradient(const NormShape& shape, const float* h, const float* weight, const float* mean,
                         const float* scale, const float* dy, float* dh);
// Of the columns [begin, end), over all rows.
void layer_norm_weight_gradient(const NormShape& shape, size_t begin, size_t end, const float* h, const float* mean,
                                const float* scale, const float* dy, float* dweight, float* dbias);

// The same with y = h / sqrt(mean(h^2) + epsilon) * weight.
void rms_norm_forward(const NormShape& shape, const float* x, const float* add, const float* weight, float* sum,
                      float* y, float* scale);
void rms_norm_gradient(const NormShape& shape, const float* h, const float* weight, const float* scale, const float* dy,
                       float* dh);
void rms_norm_weight_gradient(const NormShape& shape, size_t begin, size_t end, const float* h, const float* scale,
                              const float* dy, float* dweight);

namespace ref {
void layer_norm_forward(const NormShape& shape, const float* x, const float* add, const float* weight,
                        const float* bias, float* sum, float* y, float* mean, float* scale);
void layer_norm_gradient(const NormShape& shape, const float* h, const float* weight, const float* dy, float* dh,
                         float* dweight, float* dbias);
void rms_norm_forward(const NormShape& shape, const float* x, const float* add, const float* weight, float* sum,
                      float* y, float* scale);
void rms_norm_gradient(const NormShape& shape, const float* h, const float* weight, const float* dy, float* dh,
                       float* dweight);
}  // namespace ref

}  // namespace freshet::kernels
