#include "worker/model/text_scorer.h"

#include <algorithm>

namespace freshet::worker {
namespace {

// Tokens of one pass. Fixed, so that the bits do not depend on the threads.
constexpr size_t kPassTokens = 2048;

size_t pass_sequences(const GptModel& model) { return std::max<size_t>(1, kPassTokens / model.config().context); }

}  // namespace

CpuTextScorer::CpuTextScorer(const GptModel& model, std::span<const float> parameters, unsigned threads)
    : model_(model),
      parameters_(parameters),
      pool_(std::max(threads, 1U)),
      workspace_(model, pass_sequences(model) * model.config().context, false) {
  if (!model.config().rounds_operands()) return;
  rounded_.resize(model.parameters());
  model.round_parameters(parameters.data(), rounded_.data(), &pool_);
}

Result<double> CpuTextScorer::nats(std::span<const Token> text) {
  const size_t length = model_.config().context, rows_max = pass_sequences(model_) * length;
  const size_t predicted = text.empty() ? 0 : text.size() - 1;
  const GptParameters parameters{parameters_.data(), rounded_.empty() ? nullptr : rounded_.data()};
  double nats = 0;
  for (size_t first = 0; first < predicted; first += rows_max) {
    GptBatch batch;
    batch.sequences = (std::min(rows_max, predicted - first) + length - 1) / length;
    batch.length = length;
    tokens_.resize(batch.rows());
    targets_.resize(batch.rows());
    copy_text(text, first, tokens_, targets_);
    batch.tokens = tokens_.data();
    batch.targets = targets_.data();
    ASSIGN_OR_RETURN(double sum, model_.loss(batch, parameters, &pool_, &workspace_));
    nats += sum;
  }
  return nats;
}

void copy_text(std::span<const Token> text, size_t first, std::span<int32_t> tokens, std::span<int32_t> targets) {
  const size_t there = text.size() > first ? std::min(tokens.size(), text.size() - first - 1) : 0;
  for (size_t i = 0; i < there; ++i) {
    tokens[i] = static_cast<int32_t>(text[first + i]);
    targets[i] = static_cast<int32_t>(text[first + i + 1]);
  }
  std::fill(tokens.begin() + static_cast<ptrdiff_t>(there), tokens.end(), 0);
  std::fill(targets.begin() + static_cast<ptrdiff_t>(there), targets.end(), -1);
}

}  // namespace freshet::worker
