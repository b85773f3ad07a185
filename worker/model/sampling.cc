#include "worker/model/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/random.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {

Status SamplingOptions::check() const {
  if (!(temperature >= 0)) return invalid_argument("temperature must be 0 or more");
  if (!(top_p > 0 && top_p <= 1)) return invalid_argument("top-p must be above 0 and at most 1");
  return Status::ok();
}

Token sample_token(std::span<const float> logits, const SamplingOptions& options, uint64_t position) {
  CHECK(!logits.empty());
  std::vector<Token> tokens(logits.size());  // the likeliest first
  std::iota(tokens.begin(), tokens.end(), Token{0});
  auto likelier = [&](Token a, Token b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
  if (options.temperature == 0) return *std::min_element(tokens.begin(), tokens.end(), likelier);
  size_t count = options.top_k == 0 ? tokens.size() : std::min(options.top_k, tokens.size());
  std::partial_sort(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(count), tokens.end(), likelier);

  std::vector<double> weights(count);
  const double most = static_cast<double>(logits[tokens[0]]);
  for (size_t i = 0; i < count; ++i) {
    weights[i] = std::exp((static_cast<double>(logits[tokens[i]]) - most) / options.temperature);
  }
  const double enough = options.top_p * std::accumulate(weights.begin(), weights.end(), 0.0);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    sum += weights[i];
    if (sum >= enough) count = i + 1;
  }
  static const uint64_t kStream = stream_of("tokens of a text");
  double left = Philox(options.seed, kStream).uniform(position) * sum;
  for (size_t i = 0; i + 1 < count; ++i) {
    left -= weights[i];
    if (left < 0) return tokens[i];
  }
  return tokens[count - 1];
}

Status continue_text(const GptArtifact& artifact, std::vector<Token> text, size_t count, const SamplingOptions& options,
                     unsigned threads, const std::function<Status(Token)>& on_token) {
  RETURN_IF_ERROR(options.check());
  const GptModel& model = artifact.model;
  CHECK(!text.empty());
  const size_t rows_max = std::min<size_t>(model.config().context, text.size() + count);
  ThreadPool pool(std::max(threads, 1U));
  GptModel::Workspace workspace(model, rows_max, false);
  std::vector<uint16_t> rounded;
  if (model.config().rounds_operands()) {
    rounded.resize(model.parameters());
    model.round_parameters(artifact.parameters.data(), rounded.data(), &pool);
  }
  const GptParameters parameters{artifact.parameters.data(), rounded.empty() ? nullptr : rounded.data()};
  std::vector<float> logits(model.config().vocabulary);
  for (size_t i = 0; i < count; ++i) {
    const std::vector<int32_t> seen(text.end() - static_cast<ptrdiff_t>(std::min(rows_max, text.size())), text.end());
    GptBatch batch;
    batch.sequences = 1;
    batch.length = seen.size();
    batch.tokens = seen.data();
    RETURN_IF_ERROR(model.check_batch(batch));
    RETURN_IF_ERROR(model.next_token_logits(batch, parameters, logits.data(), &pool, &workspace));
    const Token token = sample_token(logits, options, text.size());
    if (token == artifact.tokenizer.get().end_of_text()) break;
    RETURN_IF_ERROR(on_token(token));
    text.push_back(token);
  }
  return Status::ok();
}

}  // namespace freshet::worker
