// Training a gpt on a stream of tokens: an example is a sequence of the model's context with the token that follows
// each, sequence after sequence without overlap, and its loss is the mean over its tokens. What is left at the end of
// the stream is not trained on.
#pragma once

#include <memory>
#include <vector>

#include "worker/model/gpt.h"
#include "worker/text/tokenizer.h"
#include "worker/train/objective.h"

namespace freshet::worker {

class GptObjective final : public Objective {
 public:
  // For micro-batches of up to `micro_batch_rows` sequences on `threads` threads; `seed` is that of dropout.
  // invalid_argument when there is no whole sequence. Model and tokens must outlive it.
  static Result<GptObjective> create(const GptModel& model, const std::vector<Token>& tokens, size_t micro_batch_rows,
                                     uint64_t seed, unsigned threads);

  size_t parameters() const override { return model_.parameters(); }
  size_t examples() const override { return (tokens_.size() - 1) / model_.config().context; }
  Status begin_step(const float* parameters, ThreadPool* pool) override;
  Result<double> forward_backward(const MicroBatch& batch, float scale, const float* parameters, float* gradient,
                                  unsigned thread) override;

 private:
  // What one thread needs: micro-batches are worked on side by side, each by one thread.
  struct Place {
    GptModel::Workspace workspace;
    std::unique_ptr<ThreadPool> alone;
    std::vector<int32_t> tokens, targets;
  };
  GptObjective(const GptModel& model, const std::vector<Token>& tokens, size_t micro_batch_rows, uint64_t seed,
               unsigned threads);

  const GptModel& model_;
  const std::vector<Token>& tokens_;
  uint64_t seed_;
  std::vector<Place> places_;
  std::vector<uint16_t> rounded_;  // the step's parameters; empty unless the model computes in bfloat16
};

}  // namespace freshet::worker
