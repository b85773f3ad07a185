#include "worker/model/text_scores.h"

#include <cmath>
#include <numbers>

namespace freshet::worker {
namespace {

v1::Metric metric(const std::string& name, double value) {
  v1::Metric made;
  made.set_name(name);
  made.set_value(value);
  return made;
}

}  // namespace

Result<TextLoss> text_loss(const EntryTokens& entry, TextScorer* scorer) {
  TextLoss loss;
  ASSIGN_OR_RETURN(loss.nats, scorer->nats(entry.tokens));
  loss.tokens = entry.tokens.empty() ? 0 : entry.tokens.size() - 1;
  loss.bytes = entry.bytes;
  return loss;
}

std::vector<v1::Metric> text_metrics(const TextLoss& loss) {
  if (loss.tokens == 0 || loss.bytes == 0) return {};
  const double per_token = loss.nats / static_cast<double>(loss.tokens);
  return {metric("loss", per_token), metric("perplexity", std::exp(per_token)),
          metric("bits_per_byte", loss.nats / static_cast<double>(loss.bytes) / std::numbers::ln2)};
}

}  // namespace freshet::worker
