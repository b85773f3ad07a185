#include "worker/model/text_scores.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "worker/train/thread_pool.h"

namespace freshet::worker {
namespace {

// Tokens of one pass. Fixed, so that the bits do not depend on the threads.
constexpr size_t kPassTokens = 2048;

v1::Metric metric(const std::string& name, double value) {
  v1::Metric made;
  made.set_name(name);
  made.set_value(value);
  return made;
}

}  // namespace

Result<TextLoss> text_loss(const GptArtifact& artifact, const EntryTokens& entry, unsigned threads) {
  const GptModel& model = artifact.model;
  const size_t length = model.config().context;
  const size_t pass_sequences = std::max<size_t>(1, kPassTokens / length);
  ThreadPool pool(std::max(threads, 1U));
  GptModel::Workspace workspace(model, pass_sequences * length, false);
  std::vector<uint16_t> rounded;
  if (model.config().compute == GptConfig::Compute::kBfloat16) {
    rounded.resize(model.parameters());
    model.round_parameters(artifact.parameters.data(), rounded.data(), &pool);
  }
  const GptParameters parameters{artifact.parameters.data(), rounded.empty() ? nullptr : rounded.data()};

  TextLoss loss;
  loss.bytes = entry.bytes;
  const size_t predicted = entry.tokens.empty() ? 0 : entry.tokens.size() - 1;
  loss.tokens = predicted;
  std::vector<int32_t> tokens, targets;
  for (size_t first = 0; first < predicted; first += pass_sequences * length) {
    const size_t count = std::min(pass_sequences * length, predicted - first);
    const size_t sequences = (count + length - 1) / length;
    // What the last sequence lacks is filled up and left out of the loss.
    tokens.assign(sequences * length, 0);
    targets.assign(sequences * length, -1);
    for (size_t i = 0; i < count; ++i) {
      tokens[i] = static_cast<int32_t>(entry.tokens[first + i]);
      targets[i] = static_cast<int32_t>(entry.tokens[first + i + 1]);
    }
    GptBatch batch;
    batch.sequences = sequences;
    batch.length = length;
    batch.tokens = tokens.data();
    batch.targets = targets.data();
    ASSIGN_OR_RETURN(double sum, model.loss(batch, parameters, &pool, &workspace));
    loss.nats += sum;
  }
  return loss;
}

std::vector<v1::Metric> text_metrics(const TextLoss& loss) {
  if (loss.tokens == 0 || loss.bytes == 0) return {};
  const double per_token = loss.nats / static_cast<double>(loss.tokens);
  return {metric("loss", per_token), metric("perplexity", std::exp(per_token)),
          metric("bits_per_byte", loss.nats / static_cast<double>(loss.bytes) / std::numbers::ln2)};
}

}  // namespace freshet::worker
