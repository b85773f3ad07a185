#include "worker/train/gpt_objective.h"

namespace freshet::worker {

Result<GptObjective> GptObjective::create(const GptModel& model, const std::vector<Token>& tokens,
                                          size_t micro_batch_rows, uint64_t seed, unsigned threads) {
  const size_t context = model.config().context;
  if (tokens.size() <= context) {
    return invalid_argument("the training text has " + std::to_string(tokens.size()) +
                            " tokens, and a sequence takes " + std::to_string(context + 1) +
                            ": give more text or lower gpt.context");
  }
  return GptObjective(model, tokens, micro_batch_rows, seed, threads);
}

GptObjective::GptObjective(const GptModel& model, const std::vector<Token>& tokens, size_t micro_batch_rows,
                           uint64_t seed, unsigned threads)
    : model_(model), tokens_(tokens), seed_(seed) {
  const size_t rows = micro_batch_rows * model.config().context;
  for (unsigned thread = 0; thread < threads; ++thread) {
    places_.push_back({GptModel::Workspace(model, rows, true), std::make_unique<ThreadPool>(1), {}, {}});
    places_.back().tokens.resize(rows);
    places_.back().targets.resize(rows);
  }
  if (model.config().compute == GptConfig::Compute::kBfloat16) rounded_.resize(model.parameters());
}

Status GptObjective::begin_step(const float* parameters, ThreadPool* pool) {
  if (!rounded_.empty()) model_.round_parameters(parameters, rounded_.data(), pool);
  return Status::ok();
}

Result<double> GptObjective::forward_backward(const MicroBatch& micro, float scale, const float* parameters,
                                              float* gradient, unsigned thread) {
  Place& place = places_[thread];
  const size_t context = model_.config().context;
  for (size_t i = 0; i < micro.examples.size(); ++i) {
    const Token* from = tokens_.data() + micro.examples[i] * context;
    for (size_t t = 0; t < context; ++t) {
      place.tokens[i * context + t] = static_cast<int32_t>(from[t]);
      place.targets[i * context + t] = static_cast<int32_t>(from[t + 1]);
    }
  }
  GptBatch batch;
  batch.sequences = micro.examples.size();
  batch.length = context;
  batch.tokens = place.tokens.data();
  batch.targets = place.targets.data();
  batch.dropout_seed = seed_;
  batch.dropout_step = micro.step;
  batch.first_sequence = micro.first;
  const auto tokens_of_one = static_cast<float>(context);
  ASSIGN_OR_RETURN(double sum, model_.forward_backward(batch, scale / tokens_of_one,
                                                       {parameters, rounded_.empty() ? nullptr : rounded_.data()},
                                                       gradient, place.alone.get(), &place.workspace));
  return sum / static_cast<double>(context);
}

}  // namespace freshet::worker
