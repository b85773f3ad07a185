#include "worker/train/gpt_objective.h"

#include "worker/train/sequences.h"

namespace freshet::worker {

Result<GptObjective> GptObjective::create(const GptModel& model, const std::vector<Token>& tokens, size_t length,
                                          size_t micro_batch_rows, uint64_t seed, unsigned threads) {
  CHECK(length > 0 && length <= model.config().context);
  RETURN_IF_ERROR(check_sequences(tokens, length));
  return GptObjective(model, tokens, length, micro_batch_rows, seed, threads);
}

GptObjective::GptObjective(const GptModel& model, const std::vector<Token>& tokens, size_t length,
                           size_t micro_batch_rows, uint64_t seed, unsigned threads)
    : model_(model), tokens_(tokens), length_(length), seed_(seed) {
  const size_t rows = micro_batch_rows * length;
  for (unsigned thread = 0; thread < threads; ++thread) {
    places_.push_back({GptModel::Workspace(model, rows, true), {}, {}});
    places_.back().tokens.resize(rows);
    places_.back().targets.resize(rows);
  }
  if (model.config().rounds_operands()) rounded_.resize(model.parameters());
}

Result<double> GptObjective::forward_backward(const MicroBatch& micro, float scale, const float* parameters,
                                              float* gradient, unsigned thread) {
  Place& place = places_[thread];
  copy_sequences(tokens_, length_, micro.examples, place.tokens.data(), place.targets.data());
  GptBatch batch;
  batch.sequences = micro.examples.size();
  batch.length = length_;
  batch.tokens = place.tokens.data();
  batch.targets = place.targets.data();
  batch.dropout_seed = seed_;
  batch.dropout_step = micro.step;
  batch.first_sequence = micro.first;
  const auto tokens_of_one = static_cast<float>(length_);
  ASSIGN_OR_RETURN(double sum, model_.forward_backward(batch, scale / tokens_of_one,
                                                       {parameters, rounded_.empty() ? nullptr : rounded_.data()},
                                                       gradient, micro.pool, &place.workspace));
  return sum / static_cast<double>(length_);
}

}  // namespace freshet::worker
