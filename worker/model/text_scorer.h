// How well a gpt predicts a text. One object a model, on one thread at a time; where it computes (the CPU here, a GPU
// in worker/gpu/gpt_device_scorer.h) is its own affair.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "worker/model/gpt.h"
#include "worker/text/tokenizer.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {

class TextScorer {
 public:
  virtual ~TextScorer() = default;

  // The sum of the cross entropy over the text's tokens after its first, in nats; 0 when there are none. The text is
  // cut into sequences of the model's context, each token predicted from those before it in its sequence. Tokens are of
  // the model's vocabulary. The bits depend on the model and the text only, not on what was scored before. Not finite
  // where the model's predictions are not; an error is the device's or the program's.
  virtual Result<double> nats(std::span<const Token> text) = 0;
};

// Computes as the model says (GptConfig::Compute); the same bits for any number of threads.
class CpuTextScorer final : public TextScorer {
 public:
  // Model and parameters outlive it.
  CpuTextScorer(const GptModel& model, std::span<const float> parameters, unsigned threads);

  Result<double> nats(std::span<const Token> text) override;

 private:
  const GptModel& model_;
  const std::span<const float> parameters_;
  ThreadPool pool_;
  GptModel::Workspace workspace_;
  std::vector<uint16_t> rounded_;
  std::vector<int32_t> tokens_, targets_;
};

// What a pass sees of a text: tokens `first` on and the ones that follow each, as many as tokens has room for. Behind
// the text's end the token is 0 and the target -1, which is left out of the loss.
void copy_text(std::span<const Token> text, size_t first, std::span<int32_t> tokens, std::span<int32_t> targets);

}  // namespace freshet::worker
