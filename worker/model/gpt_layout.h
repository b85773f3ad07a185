// Where each tensor of a GPT lies in the flat parameter array, under the name and in the layout of Hugging Face's
// files: the array, cut at the names, is such a file. What one product needs lies together: query, key and value
// matrices of the Llama style follow each other and act as one, as do gate and up. Immutable; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "worker/checkpoint/tensors.h"
#include "worker/model/gpt_config.h"

namespace freshet::worker {

inline constexpr size_t kNoTensor = SIZE_MAX;

// y[outputs] = x[inputs] * w + bias; offsets into the flat array.
struct GptDense {
  size_t inputs = 0, outputs = 0;
  size_t weight = 0, bias = kNoTensor;
  bool inputs_first = false;  // w is [inputs][outputs], as GPT-2's files have it; else [outputs][inputs]
};

struct GptNorm {
  size_t weight = 0, bias = kNoTensor;
};

struct GptLayer {
  GptNorm before_attention, before_feed_forward;
  GptDense qkv, attention_out, hidden, feed_forward_out;
};

struct GptLayout {
  explicit GptLayout(const GptConfig& config);

  std::vector<TensorView> tensors;
  size_t parameters = 0;

  size_t token_embedding = 0;             // [vocabulary][width]
  size_t position_embedding = kNoTensor;  // [context][width]
  std::vector<GptLayer> layers;
  GptNorm final_norm;
  size_t output = 0;  // [vocabulary][width]; the token embedding when tied

 private:
  size_t add(const std::string& name, std::vector<uint64_t> shape);
  void add_gpt2(const GptConfig& config);
  void add_llama(const GptConfig& config);
};

}  // namespace freshet::worker
