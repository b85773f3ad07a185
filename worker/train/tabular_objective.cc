#include "worker/train/tabular_objective.h"

namespace freshet::worker {

Result<TabularObjective> TabularObjective::create(const TabularModel& model, const EncodedRows& rows,
                                                  size_t micro_batch_rows, unsigned threads) {
  if (rows.rows == 0) return invalid_argument("there are no rows to train on");
  RETURN_IF_ERROR(model.check_rows(rows, true));
  return TabularObjective(model, rows, micro_batch_rows, threads);
}

TabularObjective::TabularObjective(const TabularModel& model, const EncodedRows& rows, size_t micro_batch_rows,
                                   unsigned threads)
    : model_(model), rows_(rows) {
  for (unsigned thread = 0; thread < threads; ++thread) workspaces_.emplace_back(model, micro_batch_rows);
}

Result<double> TabularObjective::forward_backward(const MicroBatch& batch, float scale, const float* parameters,
                                                  float* gradient, unsigned thread) {
  return model_.forward_backward(rows_, batch.examples, scale, parameters, gradient, &workspaces_[thread]);
}

}  // namespace freshet::worker
