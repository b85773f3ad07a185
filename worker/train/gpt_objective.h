// Training a gpt on a stream of tokens: an example is a sequence of one length with the token that follows each,
// sequence after sequence without overlap, and its loss is the mean over its tokens. What is left at the end of the
// stream is not trained on.
#pragma once

#include <vector>

#include "worker/model/gpt.h"
#include "worker/text/tokenizer.h"
#include "worker/train/objective.h"

namespace freshet::worker {

class GptObjective final : public Objective {
 public:
  // Sequences of `length` tokens, at most the model's context, in micro-batches of up to `micro_batch_rows` of them, on
  // `threads` threads; `seed` is that of dropout. invalid_argument when there is no whole sequence. Model and tokens
  // must outlive it.
  static Result<GptObjective> create(const GptModel& model, const std::vector<Token>& tokens, size_t length,
                                     size_t micro_batch_rows, uint64_t seed, unsigned threads);

  size_t parameters() const override { return model_.parameters(); }
  const std::vector<TensorView>& tensors() const override { return model_.tensors(); }
  size_t examples() const override { return (tokens_.size() - 1) / length_; }
  bool uses_pool() const override { return true; }
  std::span<uint16_t> rounded() override { return rounded_; }
  Result<double> forward_backward(const MicroBatch& batch, float scale, const float* parameters, float* gradient,
                                  unsigned thread) override;

 private:
  // What one micro-batch needs, of which there are as many at a time as threads.
  struct Place {
    GptModel::Workspace workspace;
    std::vector<int32_t> tokens, targets;
  };
  GptObjective(const GptModel& model, const std::vector<Token>& tokens, size_t length, size_t micro_batch_rows,
               uint64_t seed, unsigned threads);

  const GptModel& model_;
  const std::vector<Token>& tokens_;
  size_t length_;
  uint64_t seed_;
  std::vector<Place> places_;
  std::vector<uint16_t> rounded_;  // empty unless the model computes in bfloat16
};

}  // namespace freshet::worker
