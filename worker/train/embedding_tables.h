// Embedding tables that are trained row by row: only the rows that a batch names are touched, by row-wise AdaGrad. Each
// table is shared out over the ranks by rows; a step fetches the rows that the rank's examples name from their owners,
// and sends their gradients back there. With one rank nothing is copied. The bits do not depend on the number of ranks
// or threads: a row's gradient is summed in the fixed tree (row_gradients.h) and moved by its owner. It is not part of
// the gradient's norm, and not clipped: AdaGrad's step does not grow with its gradient. One object per rank, used on
// the thread that owns the Communicator; all ranks make the same calls.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "kernels/rowwise_adagrad.h"
#include "worker/checkpoint/tensors.h"
#include "worker/checkpoint/training_state.h"
#include "worker/comm/communicator.h"
#include "worker/comm/reduce.h"
#include "worker/train/huge_floats.h"
#include "worker/train/row_gradients.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {

// Where the gradients of a table's lookups lie: those of example e at values + e * stride.
struct LookupGradients {
  const float* values = nullptr;
  size_t stride = 0;
};

class EmbeddingTables {
 public:
  // `tables`: [rows, dim] each, one after the other from the start of a flat array. `micro_batches`: of a whole batch.
  EmbeddingTables(std::span<const TensorView> tables, const kernels::RowwiseAdagradStep& step, Communicator* comm,
                  size_t micro_batches, size_t micro_batch_rows);

  size_t tables() const { return tables_.size(); }
  // Floats in all tables, and rows in all tables.
  size_t elements() const { return elements_; }
  size_t rows() const { return rows_; }

  // Takes this rank's rows from the flat array of all, and forgets what AdaGrad has summed.
  void start(const float* all);

  // A table's lookups of this step, example by example: where they lie now, their row is named by `codes` below
  // row_source(table). `codes` is rewritten for that. Collective.
  struct Lookups {
    std::vector<int32_t>* codes = nullptr;
    const std::vector<uint32_t>* offsets = nullptr;  // null or empty: a code an example
  };
  Status fetch(std::span<const Lookups> lookups, size_t examples, ThreadPool* pool);
  const float* row_source(size_t table) const;

  // Moves the rows that were looked up in fetch(). `leaves`: micro-batches of this batch. `learning_rate_factor` is
  // that of the training's schedule. Collective.
  Status update(std::span<const LookupGradients> gradients, size_t leaves, float learning_rate_factor,
                ThreadPool* pool);

  // What a checkpoint holds of this rank.
  std::vector<TableMemory> memory();
  // All values, or all sums, as a flat array on rank 0 (elements() or rows() long; null elsewhere). Collective.
  Status gather_values(float* all);
  Status gather_sums(float* all);

 private:
  struct Table {
    size_t rows = 0, dim = 0;
    Range own;  // rows
    HugeFloats values;
    std::vector<float> sums;
    // Of the step.
    std::vector<Lookup> lookups, spare;  // sorted
    std::vector<uint32_t> unique;        // with several ranks: the rows that were fetched, ascending
    std::vector<float> fetched;          // and their values
  };
  Status gather_parts(std::span<const float> own, size_t rows, size_t dim, float* all);
  void collect(const Lookups& lookups, size_t examples, Table* table) const;
  Status exchange_rows(ThreadPool* pool);
  void update_own(Table* table, const LookupGradients& gradients, size_t leaves,
                  const kernels::RowwiseAdagradStep& step) const;
  Status update_shared(std::span<const LookupGradients> gradients, size_t leaves,
                       const kernels::RowwiseAdagradStep& step, ThreadPool* pool);
  std::vector<TreeNode> cover_of(size_t leaves, int rank) const;
  size_t leaf_of(uint32_t example) const { return first_leaf_ + example / micro_batch_rows_; }

  const kernels::RowwiseAdagradStep step_;
  Communicator& comm_;
  const size_t micro_batches_, micro_batch_rows_;
  const size_t first_leaf_;
  size_t elements_ = 0, rows_ = 0;
  std::vector<Table> tables_;
};

}  // namespace freshet::worker
