// The embedding of tokens and positions on a device, and its gradient without atomics: the rows of each token are
// listed by the host beside the tokens (token_runs), and added up in that order, in pieces of a fixed size, so that a
// frequent token is many blocks' work. Values bfloat16, gradients of tables float. `width` is a multiple of 8, else
// invalid_argument. Borders of 16 bytes. Work is queued on the stream; what a launch does lies in `runs`, so that a
// graph serves any tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

// out[r] = tokens[r]'s row of `table` + row (r modulo length) of `positions`, rounded once; `positions` may be null.
Status embedding_forward(size_t rows, size_t width, size_t length, const int32_t* tokens,
                         const kernels::Bfloat16* table, const kernels::Bfloat16* positions, kernels::Bfloat16* out,
                         CudaStream stream);

// On the host: fills runs[token_runs_size(rows)] for tokens[rows], all of them in [0, vocabulary): a permutation of the
// rows, sorted by (token, row), where each piece of a token's rows begins in it, and which tokens have several pieces.
// O(rows + vocabulary); any thread.
size_t token_runs_size(size_t rows);
void token_runs(std::span<const int32_t> tokens, size_t vocabulary, std::span<int32_t> runs);

// Floats of `scratch`.
size_t embedding_backward_scratch(size_t rows, size_t width);
// dtable[t] += the sum of dout's rows of token t, for the tokens that there are; `runs`, on the device, is that of the
// same tokens.
Status embedding_backward(size_t rows, size_t width, const int32_t* runs, const kernels::Bfloat16* dout, float* dtable,
                          float* scratch, CudaStream stream);
// dpositions[p], p < length, is overwritten with the sum over the sequences, in their order.
Status position_backward(size_t rows, size_t width, size_t length, const kernels::Bfloat16* dout, float* dpositions,
                         CudaStream stream);

}  // namespace freshet::cuda
