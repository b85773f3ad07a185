// kernels/norm.h on a device: values bfloat16, statistics and sums float. x[rows][width], row-major and dense; `width`
// is a multiple of 8 and at most kNormWidthMax; else invalid_argument. Sums have an order that depends on the shape
// alone. Borders of 16 bytes; no overlap but where said. Work is queued on the stream.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"
#include "kernels/norm.h"

namespace freshet::cuda {

using kernels::NormShape;

inline constexpr size_t kNormWidthMax = 8192;

// h = x + add, rounded, or h = x without `add`; y = (h - mean(h)) / sqrt(variance(h) + epsilon) * weight + bias. `sum`
// receives h (may be x) where there is an `add`; mean and scale one float a row, for the gradient.
Status layer_norm_forward(const NormShape& shape, const kernels::Bfloat16* x, const kernels::Bfloat16* add,
                          const kernels::Bfloat16* weight, const kernels::Bfloat16* bias, kernels::Bfloat16* sum,
                          kernels::Bfloat16* y, float* mean, float* scale, CudaStream stream);
// y = h / sqrt(mean(h^2) + epsilon) * weight.
Status rms_norm_forward(const NormShape& shape, const kernels::Bfloat16* x, const kernels::Bfloat16* add,
                        const kernels::Bfloat16* weight, kernels::Bfloat16* sum, kernels::Bfloat16* y, float* scale,
                        CudaStream stream);

// y again, with the same bits, from h and its statistics: for an activation that was not kept. `mean` is null for a
// root-mean-square norm, as `bias` is.
Status norm_again(const NormShape& shape, const kernels::Bfloat16* h, const kernels::Bfloat16* weight,
                  const kernels::Bfloat16* bias, const float* mean, const float* scale, kernels::Bfloat16* y,
                  CudaStream stream);

// Floats of `scratch`.
size_t norm_backward_scratch(const NormShape& shape);
// One pass over h and dy. dh += the gradient of h (dh: that of the residual stream); with `is_first`, dh = it. dweight
// and dbias are overwritten. So is dh_sum, unless it is null: the sums of dh's columns, each element as it was before
// it was rounded, which are the gradient of the bias of what was added to the residual stream before the norm.
Status layer_norm_backward(const NormShape& shape, const kernels::Bfloat16* h, const kernels::Bfloat16* weight,
                           const float* mean, const float* scale, const kernels::Bfloat16* dy, bool is_first,
                           kernels::Bfloat16* dh, float* dweight, float* dbias, float* dh_sum, float* scratch,
                           CudaStream stream);
Status rms_norm_backward(const NormShape& shape, const kernels::Bfloat16* h, const kernels::Bfloat16* weight,
                         const float* scale, const kernels::Bfloat16* dy, bool is_first, kernels::Bfloat16* dh,
                         float* dweight, float* scratch, CudaStream stream);

}  // namespace freshet::cuda
