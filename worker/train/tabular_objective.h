// Training a tabular model on encoded rows: an example is a row.
#pragma once

#include <vector>

#include "worker/data/encoded.h"
#include "worker/model/tabular.h"
#include "worker/train/objective.h"

namespace freshet::worker {

class TabularObjective final : public Objective {
 public:
  // For micro-batches of up to `micro_batch_rows` on `threads` threads. invalid_argument when the rows do not fit the
  // model. Both must outlive it.
  static Result<TabularObjective> create(const TabularModel& model, const EncodedRows& rows, size_t micro_batch_rows,
                                         unsigned threads);

  size_t parameters() const override { return model_.parameters(); }
  const std::vector<TensorView>& tensors() const override { return model_.tensors(); }
  size_t examples() const override { return rows_.rows; }
  Result<double> forward_backward(const MicroBatch& batch, float scale, const float* parameters, float* gradient,
                                  unsigned thread) override;

 private:
  TabularObjective(const TabularModel& model, const EncodedRows& rows, size_t micro_batch_rows, unsigned threads);
  const TabularModel& model_;
  const EncodedRows& rows_;
  std::vector<TabularModel::Workspace> workspaces_;  // one a thread
};

}  // namespace freshet::worker
