// The end of a step on a device, in as few launches as can be: the gradient's norm, the factor that clips it, and
// AdamW (kernels/adamw.h, with its bits when rounded to nearest) over a rank's whole segment of the flat parameters,
// the working copy as bfloat16 included. What differs from step to step lies in device memory, so that a graph can be
// launched again. Borders of 16 bytes. Work is queued on the stream.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "kernels/adamw.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

// Of one step; the host writes it.
struct StepInput {
  kernels::AdamWStep adamw;  // weight_decay: of the decayed elements; gradient_scale is not looked at
  double clip_norm = 0;      // 0: no clipping
  uint64_t step = 0;         // from 1; random rounding is drawn with it
  uint64_t seed = 0;
  // A loss or norm above these, or one that is no number, leaves the parameters as they are.
  double loss_limit = 0;  // 0: none
  double norm_limit = 0;
};

// What became of it; the host reads it when the step is done.
struct StepOutput {
  double loss = 0;  // the sum over the batch
  double norm = 0;  // of the whole gradient, before clipping
  float gradient_scale = 1;
  int32_t is_applied = 0;
};

// output = the loss (sums[0] + sums[1] + ... of `losses`), the norm (from `blocks` block sums of squares, added in
// their order in fixed parts), the clipping factor and whether the step is applied. One block.
Status finish_step_numbers(const StepInput* input, size_t losses, const double* loss_sums, size_t blocks,
                           const double* block_sums, StepOutput* output, CudaStream stream);

enum class Rounding {
  kNearest,  // ties to even
  // Up or down with the probability of the distance: the upper 16 bits of word e % 4 of Philox(seed, step).block(e / 4)
  // for element e are added to the lower half of the float, whose upper half is then the result.
  kStochastic,
};

// A rank's elements [first, first + count) of the flat parameters; all arrays begin at `first`.
struct AdamWSegment {
  size_t first = 0;
  size_t count = 0;
  float* gradient = nullptr;  // zeroed afterwards if `zero_gradient`
  float* w = nullptr;         // null: `rounded` is all there is of the weights
  float* m = nullptr;
  float* v = nullptr;
  kernels::Bfloat16* rounded = nullptr;  // null: there is no working copy
  // Borders of tensors, ascending, where decay begins and ends in turn: [0] begins, [1] ends, ... Device memory.
  const uint64_t* decayed = nullptr;
  size_t decayed_borders = 0;
  bool zero_gradient = false;
  Rounding rounding = Rounding::kNearest;
};

inline constexpr int kAdamWVersions = 2;

// Nothing happens when output->is_applied is 0, but for zeroing. Gives the same bits for any split into segments.
// `version`: 0 picks; 1 one element a thread, 2 four.
Status adamw(const AdamWSegment& segment, const StepInput* input, const StepOutput* output, CudaStream stream,
             int version = 0);

// rounded = w, to nearest: after a segment was received or restored.
Status round_weights(size_t count, const float* w, kernels::Bfloat16* rounded, CudaStream stream);

}  // namespace freshet::cuda
