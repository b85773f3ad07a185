// What attention.cu chooses from. Shapes have been checked. Internal to kernels/cuda.
#pragma once

#include "kernels/cuda/attention.h"

namespace freshet::cuda {

using kernels::Bfloat16;

struct AttentionForward {
  AttentionShape shape;
  const Bfloat16 *q, *k, *v;
  Bfloat16* out;
  float* log_sum;
};

struct AttentionBackward {
  AttentionShape shape;
  const Bfloat16 *q, *k, *v, *out, *dout;
  const float* log_sum;
  Bfloat16 *dq, *dk, *dv;
  float* scratch;
};

Status attention_forward_mma(const AttentionForward& call, CudaStream stream);
Status attention_forward_wgmma(const AttentionForward& call, CudaStream stream);
Status attention_backward_mma(const AttentionBackward& call, CudaStream stream);
Status attention_backward_wgmma(const AttentionBackward& call, CudaStream stream);

// What the backward kernels need of each query, made by one kernel from out, dout and log_sum: log_sum in base 2, and
// the sum of dout * out. Two arrays [sequence][head][padded] in `scratch`; behind `length` are zeros.
inline size_t padded_length(const AttentionShape& shape) { return (shape.length + 127) / 128 * 128; }
Status attention_statistics(const AttentionBackward& call, CudaStream stream);

}  // namespace freshet::cuda
