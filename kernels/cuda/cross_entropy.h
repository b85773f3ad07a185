// Softmax and cross entropy over a chunk of rows of logits on a device, with the gradient in place, so that a product
// with the output matrix and its loss go through one chunk at a time and the logits of all tokens never exist. Logits
// bfloat16, arithmetic float; a row is one block's, in an order that depends on the number of columns. Borders of 16
// bytes; a stride that is no multiple of 8 or below the columns is an invalid_argument. Work is queued on the stream.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

struct LogitChunk {
  size_t rows = 0;
  size_t columns = 0;  // the vocabulary
  size_t stride = 0;   // elements from one row to the next; a multiple of 8, at least columns
};

// losses[r] = log of the sum of e^logit - the logit of targets[r], and 0 where that is below 0.
Status cross_entropy_forward(const LogitChunk& chunk, const kernels::Bfloat16* logits, const int32_t* targets,
                             float* losses, CudaStream stream);
// The same losses, to the bit; then logits = (e^(logits - log of the sum) - [column is the target]) * scale, 0 in rows
// whose target is below 0 and in the columns between `columns` and `stride`. `scale` lies in device memory, so that a
// graph serves batches of any number of rows. A read and a write.
Status cross_entropy_backward(const LogitChunk& chunk, const float* scale, const int32_t* targets,
                              kernels::Bfloat16* logits, float* losses, CudaStream stream);

// sums[i] = the sum, in double, of losses[i * group, (i + 1) * group), in order within fixed parts.
Status sum_losses(size_t groups, size_t group, const float* losses, double* sums, CudaStream stream);

}  // namespace freshet::cuda
