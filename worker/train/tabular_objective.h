// Training a tabular model on encoded rows: an example is a row. The embedding tables are part of the flat parameters,
// or EmbeddingTables trains them.
#pragma once

#include <memory>
#include <vector>

#include "worker/data/encoded.h"
#include "worker/model/tabular.h"
#include "worker/train/embedding_tables.h"
#include "worker/train/objective.h"

namespace freshet::worker {

// invalid_argument when there are no rows, they do not fit the model, or their weights are none.
Status check_training_rows(const TabularModel& model, const EncodedRows& rows);

class TabularObjective final : public Objective {
 public:
  // For micro-batches of up to `micro_batch_rows` on `threads` threads. invalid_argument when the rows do not fit the
  // model. The model must outlive it; of the rows it makes a copy of its own. `tables`: null where the flat parameters
  // hold all.
  static Result<TabularObjective> create(const TabularModel& model, const EncodedRows& rows, size_t micro_batch_rows,
                                         unsigned threads, std::unique_ptr<EmbeddingTables> tables = nullptr);

  size_t parameters() const override { return tables_ ? model_.dense_parameters() : model_.parameters(); }
  const std::vector<TensorView>& tensors() const override {
    return tables_ ? model_.dense_tensors() : model_.tensors();
  }
  size_t examples() const override { return rows_.rows(); }
  EmbeddingTables* tables() override { return tables_.get(); }
  Status begin_step(std::span<const uint32_t> examples, uint64_t first, ThreadPool* pool) override;
  Result<double> forward_backward(const MicroBatch& batch, float scale, const float* parameters, float* gradient,
                                  unsigned thread) override;
  Status update_tables(size_t leaves, float learning_rate_factor, ThreadPool* pool) override;

 private:
  // What one thread needs.
  struct Place {
    TabularModel::Workspace workspace;
    TabularBuffer buffer;
  };
  TabularObjective(const TabularModel& model, const EncodedRows& rows, size_t micro_batch_rows, unsigned threads,
                   std::unique_ptr<EmbeddingTables> tables);

  const TabularModel& model_;
  const PackedRows rows_;
  const size_t micro_batch_rows_;
  std::vector<Place> places_;  // one a thread
  // With tables: this rank's part of the step's batch, and the gradient of its features.
  std::unique_ptr<EmbeddingTables> tables_;
  std::unique_ptr<TabularBuffer> batch_;
  std::vector<float> feature_gradient_;
  uint64_t first_ = 0;  // where the part begins in the global batch
};

}  // namespace freshet::worker
