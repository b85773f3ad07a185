// The shape of a decoder-only transformer. Two styles, each with the parts, the tensor names and the layouts that
// Hugging Face's files of that family have. Plain data.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace freshet::worker {

struct GptConfig {
  enum class Style {
    kGpt2,   // learned positions, layer norm, GELU, biases, output tied to the embedding
    kLlama,  // rotary positions, RMS norm, SwiGLU, no biases, grouped queries
  };
  // Of the matrix products; weights and sums are float in all. kFloat8: the products of layers take 8-bit floats on
  // GPUs that have them, and bfloat16 elsewhere.
  enum class Compute { kFloat32, kBfloat16, kFloat8 };

  Style style = Style::kGpt2;
  Compute compute = Compute::kFloat32;
  uint32_t layers = 12;
  uint32_t heads = 12;
  uint32_t kv_heads = 12;  // kGpt2: as many as heads
  uint32_t width = 768;
  uint32_t feed_forward = 3072;
  uint32_t context = 1024;  // tokens of a sequence at most
  uint32_t vocabulary = 50257;
  bool tied = true;   // the output matrix is the embedding; kGpt2: always
  float dropout = 0;  // of the embedding and of what each half of a layer adds; not of attention's probabilities
  float epsilon = 1e-5F;
  double rope_base = 10000;

  size_t head_size() const { return width / heads; }
  // Whether a CPU's products take their operands as bfloat16.
  bool rounds_operands() const { return compute != Compute::kFloat32; }
  // Columns of a token's queries, keys and values.
  size_t qkv_width() const { return (size_t{heads} + 2 * size_t{kv_heads}) * head_size(); }
  // Columns of the feed-forward part before its activation.
  size_t hidden_width() const { return style == Style::kLlama ? 2 * size_t{feed_forward} : feed_forward; }

  // invalid_argument: what does not fit together, and what to change.
  Status check() const;
};

}  // namespace freshet::worker
