// What a gpt is worth on text: its loss on each entry, every token after an entry's first counted once.
#pragma once

#include <vector>

#include "base/status.h"
#include "proto/dataset.pb.h"
#include "worker/data/text_entries.h"
#include "worker/model/text_scorer.h"

namespace freshet::worker {

struct TextLoss {
  double nats = 0;      // summed over the tokens that were predicted
  uint64_t tokens = 0;  // predicted
  uint64_t bytes = 0;   // of text
};

// Of the scorer's model.
Result<TextLoss> text_loss(const EntryTokens& entry, TextScorer* scorer);

// loss (nats a token), perplexity and bits_per_byte; none when nothing was predicted.
std::vector<v1::Metric> text_metrics(const TextLoss& loss);

}  // namespace freshet::worker
