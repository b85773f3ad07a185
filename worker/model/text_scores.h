// What a gpt is worth on text: its loss on each entry, every token after an entry's first counted once. Pure; any
// thread.
#pragma once

#include <vector>

#include "base/status.h"
#include "proto/dataset.pb.h"
#include "worker/checkpoint/gpt_artifact.h"
#include "worker/data/text_entries.h"

namespace freshet::worker {

struct TextLoss {
  double nats = 0;      // summed over the tokens that were predicted
  uint64_t tokens = 0;  // predicted
  uint64_t bytes = 0;   // of text
};

// The entry is cut into sequences of the model's context, each token predicted from those before it in its sequence.
// The same bits for any number of threads.
Result<TextLoss> text_loss(const GptArtifact& model, const EntryTokens& entry, unsigned threads);

// loss (nats a token), perplexity and bits_per_byte; none when nothing was predicted.
std::vector<v1::Metric> text_metrics(const TextLoss& loss);

}  // namespace freshet::worker
