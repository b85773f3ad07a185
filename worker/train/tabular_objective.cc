#include "worker/train/tabular_objective.h"

#include <algorithm>
#include <cmath>

namespace freshet::worker {
namespace {

Status check_weights(std::span<const float> weights) {
  if (weights.empty()) return Status::ok();
  for (float weight : weights) {
    if (!(weight >= 0) || !std::isfinite(weight)) {
      return invalid_argument("a row's weight is " + std::to_string(weight) + "; use finite numbers of 0 or more");
    }
  }
  if (std::any_of(weights.begin(), weights.end(), [](float weight) { return weight > 0; })) return Status::ok();
  return invalid_argument("all rows have the weight 0: none would be learnt from");
}

}  // namespace

Status check_training_rows(const TabularModel& model, const EncodedRows& rows) {
  if (rows.rows == 0) return invalid_argument("there are no rows to train on");
  RETURN_IF_ERROR(model.check_rows(rows, true));
  return check_weights(rows.weight);
}

Result<TabularObjective> TabularObjective::create(const TabularModel& model, const EncodedRows& rows,
                                                  size_t micro_batch_rows, unsigned threads,
                                                  std::unique_ptr<EmbeddingTables> tables) {
  RETURN_IF_ERROR(check_training_rows(model, rows));
  return TabularObjective(model, rows, micro_batch_rows, threads, std::move(tables));
}

TabularObjective::TabularObjective(const TabularModel& model, const EncodedRows& rows, size_t micro_batch_rows,
                                   unsigned threads, std::unique_ptr<EmbeddingTables> tables)
    : model_(model), rows_(model.shape(), rows), micro_batch_rows_(micro_batch_rows), tables_(std::move(tables)) {
  for (unsigned thread = 0; thread < threads; ++thread) {
    places_.push_back({TabularModel::Workspace(model, micro_batch_rows),
                       TabularBuffer(model.shape(), tables_ ? 0 : micro_batch_rows)});
  }
}

Status TabularObjective::begin_step(std::span<const uint32_t> examples, uint64_t first, ThreadPool* pool) {
  if (!tables_) return Status::ok();
  first_ = first;
  if (!batch_ || batch_->rows_max() < examples.size()) {
    batch_ = std::make_unique<TabularBuffer>(model_.shape(), examples.size());
    feature_gradient_.resize(examples.size() * model_.feature_width());
  }
  rows_.begin(examples.size(), batch_.get());
  const auto& bags = rows_.multi_valued();
  const size_t pieces = (examples.size() + micro_batch_rows_ - 1) / micro_batch_rows_;
  RETURN_IF_ERROR(pool->run(pieces + bags.size(), [&](size_t job, unsigned) {
    if (job >= pieces) {
      rows_.gather_bags(bags[job - pieces], examples, batch_.get());
    } else {
      const size_t begin = job * micro_batch_rows_, count = std::min(micro_batch_rows_, examples.size() - begin);
      rows_.gather(examples.subspan(begin, count), begin, batch_.get());
    }
    return Status::ok();
  }));
  std::vector<EmbeddingTables::Lookups> lookups;
  for (size_t f = 0; f < tables_->tables(); ++f) lookups.push_back({&batch_->codes(f), &batch_->offsets(f)});
  return tables_->fetch(lookups, examples.size(), pool);
}

Result<double> TabularObjective::forward_backward(const MicroBatch& batch, float scale, const float* parameters,
                                                  float* gradient, unsigned thread) {
  Place& place = places_[thread];
  if (tables_) {
    const size_t begin = batch.first - first_;
    TabularWeights weights;
    weights.dense = parameters;
    for (size_t f = 0; f < tables_->tables(); ++f) weights.tables.push_back(tables_->row_source(f));
    return model_.forward_backward(batch_->batch(begin, batch.examples.size()), scale, weights, gradient,
                                   feature_gradient_.data() + begin * model_.feature_width(), &place.workspace);
  }
  rows_.begin(batch.examples.size(), &place.buffer);
  rows_.gather(batch.examples, 0, &place.buffer);
  for (size_t feature : rows_.multi_valued()) rows_.gather_bags(feature, batch.examples, &place.buffer);
  return model_.forward_backward(place.buffer.batch(0, batch.examples.size()), scale, parameters, gradient,
                                 &place.workspace);
}

Status TabularObjective::update_tables(size_t leaves, float learning_rate_factor, ThreadPool* pool) {
  if (!tables_) return Status::ok();
  std::vector<LookupGradients> gradients;
  for (size_t f = 0; f < tables_->tables(); ++f) {
    gradients.push_back({feature_gradient_.data() + model_.feature_column(f), model_.feature_width()});
  }
  return tables_->update(gradients, leaves, learning_rate_factor, pool);
}

}  // namespace freshet::worker
