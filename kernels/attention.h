// Causal attention (Vaswani et al., 2017) in tiles that never hold a whole row of scores (Dao et al., "FlashAttention",
// 2022), with grouped queries (Ainslie et al., 2023). One call is one sequence and one key-value head with the group of
// query heads that share it: the unit that threads may share out. q, k and v lie in rows of `stride` floats, one a
// token; the heads of the group follow each other. Sums run over the tokens in ascending order, in tiles of
// kAttentionTile, so the bits depend on the shape and the values. No overlap. Any thread.
#pragma once

#include <cstddef>

namespace freshet::kernels {

inline constexpr size_t kAttentionTile = 64;

struct AttentionShape {
  size_t length = 0;
  size_t group = 1;  // query heads to one key-value head
  size_t size = 0;   // of a head
  size_t stride = 0;
  size_t out_stride = 0;  // of out and its gradient
};

// Floats of `scratch`, for either direction.
size_t attention_scratch(const AttentionShape& shape);

// out = softmax(q k^T / sqrt(size)) v over the tokens up to a query's own. log_sum[group][length] is kept for the
// gradient.
void attention_forward(const AttentionShape& shape, const float* q, const float* k, const float* v, float* out,
                       float* log_sum, float* scratch);
// Overwrites dq, dk and dv, which lie as q, k and v do.
void attention_gradient(const AttentionShape& shape, const float* q, const float* k, const float* v, const float* out,
                        const float* log_sum, const float* dout, float* dq, float* dk, float* dv, float* scratch);

namespace ref {
void attention_forward(const AttentionShape& shape, const float* q, const float* k, const float* v, float* out,
                       float* log_sum);
void attention_gradient(const AttentionShape& shape, const float* q, const float* k, const float* v, const float* dout,
                        float* dq, float* dk, float* dv);
}  // namespace ref

}  // namespace freshet::kernels
