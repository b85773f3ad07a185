// The end of an optimizer step on a rank's threads: the gradient's norm, then clipping, AdamW and the rounded copy of
// the weights in one pass over memory. The bits do not depend on the number of threads or ranks: the norm is summed
// over fixed blocks, all else is element-wise. Plain functions over arrays of `count` elements that do not overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/adamw.h"
#include "worker/checkpoint/tensors.h"
#include "worker/comm/reduce.h"
#include "worker/train/options.h"
#include "worker/train/step_engine.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {

// kernels::block_sums_of_squares, one sum for each block of kernels::kBlock elements.
void block_sums_of_squares(size_t count, const float* gradient, double* sums, ThreadPool* pool);

// The 2-norm of what these are the blocks' sums of, in order.
double norm_of(std::span<const double> block_sums);

// What a step's plan and the options make of AdamW; the factor of the gradient is left at 1.
kernels::AdamWStep adamw_step(const TrainOptions& options, const StepPlan& plan);

// The factor that takes a gradient of this norm to at most `clip_norm`; 1 without one (0).
float clipping_factor(double norm, double clip_norm);

// The weights as bfloat16.
void round_weights(size_t count, const float* weights, uint16_t* rounded, ThreadPool* pool);

// The elements that weight decay pulls at: those of tensors of two dimensions or more, not of biases and norms (as
// GPT-2 and everything since is trained). Ascending.
std::vector<Range> decayed_ranges(const std::vector<TensorView>& tensors);

// A part of the parameters with what the optimizer keeps for it: arrays of `range.size()` elements.
struct OwnedSegment {
  Range range;  // among all parameters
  const float* gradient = nullptr;
  float* weights = nullptr;
  float* m = nullptr;
  float* v = nullptr;
  uint16_t* rounded = nullptr;  // receives the new weights as bfloat16; may be null
};

// kernels::adamw over a segment; its weight decay within `decayed` only.
void update_weights(const kernels::AdamWStep& step, const OwnedSegment& segment, const std::vector<Range>& decayed,
                    ThreadPool* pool);

}  // namespace freshet::worker
