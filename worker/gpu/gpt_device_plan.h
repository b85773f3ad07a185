// The memory that a gpt's micro-batch takes on a device, computed before anything is allocated, and without a device:
// where each buffer lies in one arena. Values are bfloat16, statistics and losses float. What is kept for the gradient
// depends on the level of recomputation; what is never needed at the same time shares memory (memory_plan.h).
#pragma once

#include <cstddef>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/attention.h"
#include "worker/model/gpt_config.h"
#include "worker/model/gpt_layout.h"

namespace freshet::worker {

// What is made once more in the backward pass instead of kept, from the fastest to the smallest. The bits are the same,
// but that GELU sees its input rounded when it is made again: of the second and third level, kGpt2's gradients of the
// feed-forward part's second matrix have their own.
enum class Recompute {
  kNothing,
  kActivations,  // what left the activation of the feed-forward part
  kNorms,        // that, and what left the norms
  kLayers,       // all of a layer but its input
};

// Sequences of one length; all micro-batches have this shape.
struct GptDeviceShape {
  size_t sequences = 0;
  size_t length = 0;

  size_t rows() const { return sequences * length; }
};

struct GptDeviceOptions {
  Recompute recompute = Recompute::kNothing;
  bool training = true;  // false: for losses and logits only, nothing is kept
  // Of the logits that exist at a time, about: the output matrix and the loss go through so many rows at once.
  size_t head_bytes = size_t{1} << 30;
  // Whether gradients of weights are made on a stream of their own, beside those of activations: it fills what small
  // products leave idle, and changes no bits.
  bool weights_beside = true;
  int attention_version = 0;  // of cuda::kAttentionVersions; 0: the fastest
  // Whether the products of layers in a training, forward and of gradients of activations, take their operands as 8-bit
  // floats (e4m3): twice the arithmetic, for models so wide that it outweighs the conversions. Each operand is scaled
  // by its greatest magnitude in the steps before (kernels/cuda/float8.h). Wants width, feed_forward and rows that are
  // multiples of 16. Losses and logits without a gradient are computed in bfloat16.
  bool float8 = false;
};

// No such buffer in this style.
inline constexpr size_t kNoBuffer = SIZE_MAX;

// Offsets into the arena, in bytes; rows of the micro-batch, dense.
struct GptDeviceLayer {
  size_t input = kNoBuffer;          // of the residual stream, before attention
  size_t normed = kNoBuffer;         // what attention sees
  size_t qkv = kNoBuffer;            // turned by their positions where those are rotary
  size_t attended = kNoBuffer;       // all heads side by side
  size_t middle = kNoBuffer;         // of the residual stream, before the feed-forward part
  size_t normed_middle = kNoBuffer;  // what that sees
  size_t hidden = kNoBuffer;         // before the activation: gate and up side by side, or one
  size_t active = kNoBuffer;         // what left the activation
  size_t mean = kNoBuffer, scale = kNoBuffer, mean_middle = kNoBuffer, scale_middle = kNoBuffer;
  size_t log_sum = kNoBuffer;  // [sequence][head][token]
};

struct GptDevicePlan {
  GptDeviceShape shape;
  GptDeviceOptions options;
  size_t head_rows = 0;      // of logits that exist at a time; a power of two, or all rows
  size_t logits_stride = 0;  // elements from one row of logits to the next

  std::vector<GptDeviceLayer> layers;  // one for all where nothing is kept
  size_t added = kNoBuffer;            // what a half of a layer adds to the residual stream
  size_t last = kNoBuffer;             // the residual stream at the end
  size_t normed_last = kNoBuffer;      // its norm; chunk by chunk the head puts its gradient in its place
  size_t mean_last = kNoBuffer, scale_last = kNoBuffer;
  size_t logits = kNoBuffer;  // [head_rows][logits_stride]; its gradient in its place
  size_t losses = kNoBuffer;  // [rows]
  size_t rope = kNoBuffer;    // table for the positions of a sequence
  // With float8 in a training (gpt_device_float8.h); all but the values stay from step to step.
  std::vector<GptDense> float8_dense;  // of all layers, ascending
  size_t float8_values = kNoBuffer;    // of one product
  // From the first dense layer's weight to the last one's; where the flat parameters have them, and each transposed.
  size_t float8_weights = kNoBuffer, float8_weights_transposed = kNoBuffer;
  size_t float8_histories = kNoBuffer, float8_scales = kNoBuffer;

  // Gradients.
  size_t d_residual = kNoBuffer;  // of the residual stream, from the end to the start
  size_t d_added = kNoBuffer;     // of what is added to it: the same behind dropout's mask
  size_t d_normed = kNoBuffer;
  size_t d_attended = kNoBuffer;
  size_t d_qkv = kNoBuffer;
  size_t d_active = kNoBuffer;  // kLlama
  size_t d_hidden = kNoBuffer;
  size_t attention_scratch = kNoBuffer, sums_scratch = kNoBuffer, norm_scratch = kNoBuffer;
  size_t embedding_scratch = kNoBuffer;

  size_t bytes = 0;        // of the arena
  size_t bytes_least = 0;  // that the phase which needs most needs

  bool has_float8() const { return !float8_dense.empty(); }
  cuda::AttentionShape attention(const GptConfig& config) const;
};

// invalid_argument: what of the configuration or the shape the device's operations cannot take, and what to change.
Result<GptDevicePlan> plan_gpt_device(const GptConfig& config, const GptDeviceShape& shape,
                                      const GptDeviceOptions& options);

}  // namespace freshet::worker
