// Text from a gpt: a token is drawn from what the model expects after the text so far, and so on. The same model, text,
// options and number of threads or any other give the same tokens: the draws are functions of the seed and the token's
// position. Pure but for the threads that the caller names; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/status.h"
#include "worker/checkpoint/gpt_artifact.h"
#include "worker/text/tokenizer.h"

namespace freshet::worker {

struct SamplingOptions {
  double temperature = 1;  // the logits are divided by it; 0: always the likeliest token
  size_t top_k = 0;        // only so many of the likeliest tokens; 0: all
  double top_p = 1;        // only the likeliest tokens that together have this probability, at least one
  uint64_t seed = 0;

  // invalid_argument: what to change.
  Status check() const;
};

// The token at `position`, drawn from logits of the whole vocabulary. Of equal ones the lower token is the likelier.
// top_p as in Holtzman et al., "The curious case of neural text degeneration", 2020; counted after top_k.
Token sample_token(std::span<const float> logits, const SamplingOptions& options, uint64_t position);

// Up to `count` tokens after `text` (not empty), each handed to `on_token`; ends early at an end of text, which is not
// handed over, or with what on_token returns. The model sees the newest tokens that its context has room for, all of
// them anew for each token.
Status continue_text(const GptArtifact& artifact, std::vector<Token> text, size_t count, const SamplingOptions& options,
                     unsigned threads, const std::function<Status(Token)>& on_token);

}  // namespace freshet::worker
