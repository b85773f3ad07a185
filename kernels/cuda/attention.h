// Causal attention on a device, over sequences of one length, in tiles that never hold a row of scores (Dao,
// "FlashAttention-2", 2023; Shah et al., "FlashAttention-3", 2024), with grouped queries. Values are bfloat16, products
// and sums float. q, k and v lie in rows of `stride` elements, one a token, sequence after sequence; query heads side
// by side, `size` apart, and so the key-value heads (so that all three may lie in one matrix). Every output element is
// made by one thread block in an order that depends on the shape alone: no atomics, the same bits each time. Pointers
// and strides lie on borders of 16 bytes. No overlap. Work is queued on the stream.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

struct AttentionShape {
  size_t sequences = 0;
  size_t length = 0;    // tokens of each, at least 1
  size_t heads = 0;     // of queries
  size_t kv_heads = 0;  // divides heads: head h reads key-value head h / (heads / kv_heads)
  size_t size = 0;      // of a head: 64 or 128
  size_t stride = 0;    // elements from one token to the next in q, k, v and their gradients
  size_t out_stride = 0;
};

// 0: the fastest for the device and shape; 1: mma.sync and cp.async, any device from sm_80 on; 2: wgmma and the copy
// engine, compute capability 9.0 only.
inline constexpr int kAttentionVersions = 2;

// out = softmax(q k^T / sqrt(size)) v over the tokens up to a query's own. log_sum[sequence][head][token] is kept for
// the gradient: the logarithm of the sum of e^score. invalid_argument for a shape or version that it cannot take.
Status attention_forward(const AttentionShape& shape, const kernels::Bfloat16* q, const kernels::Bfloat16* k,
                         const kernels::Bfloat16* v, kernels::Bfloat16* out, float* log_sum, CudaStream stream,
                         int version = 0);

// Bytes of `scratch`.
size_t attention_backward_scratch(const AttentionShape& shape);
// Overwrites dq, dk and dv, which lie as q, k and v do.
Status attention_backward(const AttentionShape& shape, const kernels::Bfloat16* q, const kernels::Bfloat16* k,
                          const kernels::Bfloat16* v, const kernels::Bfloat16* out, const float* log_sum,
                          const kernels::Bfloat16* dout, kernels::Bfloat16* dq, kernels::Bfloat16* dk,
                          kernels::Bfloat16* dv, void* scratch, CudaStream stream, int version = 0);

}  // namespace freshet::cuda
