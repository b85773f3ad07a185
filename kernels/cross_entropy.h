// Softmax and cross entropy over rows of logits, in two passes so that a vocabulary may come in blocks of columns: each
// block is first summed up by itself, then the blocks of a row are joined in their order, then every block is turned
// into its part of the gradient in place. So a product with the output matrix and its loss go through one block at a
// time. The bits depend on the shape of the blocks and the values. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace freshet::kernels {

struct LogitBlock {
  size_t rows = 0;
  size_t begin = 0;  // its columns of the vocabulary
  size_t end = 0;
  size_t stride = 0;  // floats from one row of the block to the next

  size_t columns() const { return end - begin; }
};

// A row's part in one block.
struct SoftmaxPart {
  float largest = 0;
  float sum = 0;  // of e^(logit - largest)
};

// parts[r] for each row; logit[r] = that of target[r] for those rows whose target lies in the block.
void softmax_parts(const LogitBlock& block, const float* logits, const int32_t* target, SoftmaxPart* parts,
                   float* logit);

// parts[b][row], row-major, for `blocks` blocks. log_sum[r] = log of the sum of e^logit over all blocks of row r.
// Returns the sum over the rows of log_sum - logit[r], in double and in row order; rows with a target below 0 are left
// out.
double join_softmax_parts(size_t rows, size_t blocks, const SoftmaxPart* parts, const int32_t* target,
                          const float* logit, float* log_sum);

// logits = (e^(logits - log_sum) - [column is the target]) * scale; all 0 in rows with a target below 0.
void cross_entropy_gradient(const LogitBlock& block, const int32_t* target, const float* log_sum, float scale,
                            float* logits);

namespace ref {
// The sum of the losses over a whole [rows][columns] and its gradient times `scale`.
double cross_entropy(size_t rows, size_t columns, const float* logits, const int32_t* target, float scale,
                     float* gradient);
}  // namespace ref

}  // namespace freshet::kernels
