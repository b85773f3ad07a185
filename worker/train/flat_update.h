// The end of an optimizer step on a rank's threads: the gradient's norm, then clipping, AdamW and the rounded copy of
// the weights in one pass over memory. The bits do not depend on the number of threads or ranks: the norm is summed
// over fixed blocks, all else is element-wise. Plain functions over arrays of `count` elements that do not overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/adamw.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {

// kernels::block_sums_of_squares, one sum for each block of kernels::kBlock elements.
void block_sums_of_squares(size_t count, const float* gradient, double* sums, ThreadPool* pool);

// The 2-norm of what these are the blocks' sums of, in order.
double norm_of(std::span<const double> block_sums);

// The factor that takes a gradient of this norm to at most `clip_norm`; 1 without one (0).
float clipping_factor(double norm, double clip_norm);

// The weights as bfloat16.
void round_weights(size_t count, const float* weights, uint16_t* rounded, ThreadPool* pool);

// kernels::adamw over all elements; `rounded` may be null.
void update_weights(const kernels::AdamWStep& step, size_t count, const float* gradient, float* weights, float* m,
                    float* v, uint16_t* rounded, ThreadPool* pool);

}  // namespace freshet::worker
