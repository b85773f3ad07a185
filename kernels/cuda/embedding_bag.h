// The embedding tables of a recommender on a device: lookups in all tables with one launch, and the training of the
// rows that were looked up, in which no gradient as large as a table ever exists. The lookups of a step are sorted by
// row; the gradients of a row's lookups are added in the order of their examples, 32 at a time, and the sums of those
// pieces in a fixed order; row-wise AdaGrad (kernels/rowwise_adagrad.h) then moves the row in place. So the bits depend
// on the lookups and gradients of the row alone. Tables, sums and arithmetic are float; what goes in and out of a model
// is float or bfloat16. Work is queued on the stream; nothing depends on what the host knows of a micro-batch, so a
// graph serves all.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"
#include "kernels/rowwise_adagrad.h"

namespace freshet::cuda {

inline constexpr uint32_t kOneCodeEach = UINT32_MAX;
inline constexpr size_t kEmbeddingDimMax = 8192;
inline constexpr size_t kEmbeddingFeaturesMax = 256;
inline constexpr size_t kEmbeddingExamplesMax = 1 << 24;  // of a step

// A categorical feature and its table. Kernels read an array of them in device memory.
struct EmbeddingFeature {
  float* table = nullptr;  // [rows][dim]
  float* sums = nullptr;   // [rows], AdaGrad's
  uint32_t first_row = 0;  // of the table, among the rows of all tables
  uint32_t dim = 0;        // at most kEmbeddingDimMax
  uint32_t column = 0;     // where the feature lies in a row of features
  // Where the codes of a micro-batch lie among its words, below 0 for an example without one, which gets zeros; and how
  // many there is room for.
  uint32_t codes = 0, codes_max = 0;
  // Where offsets[rows + 1] into those codes lie, of a feature with any number of codes an example, which are averaged;
  // kOneCodeEach else.
  uint32_t offsets = kOneCodeEach;
  uint32_t first_lookup = 0;  // the sum of codes_max of the features before it
};

struct EmbeddingShape {
  size_t rows = 0;        // examples of a micro-batch
  size_t slots = 1;       // micro-batches of a step
  size_t features = 0;    // at most kEmbeddingFeaturesMax; rows * slots: at most kEmbeddingExamplesMax
  size_t lookups = 0;     // the sum of all codes_max
  size_t table_rows = 0;  // of all tables, below 2^32
  size_t dim_max = 0;
  // All `dim`, `column` and strides are multiples of 4, tables, rows of features and parts begin on borders of 16
  // (bfloat16: 8) bytes.
  bool by_fours = false;
};

// invalid_argument for more than the functions below take, which answer the same.
Status check_embedding_bags(const EmbeddingShape& shape);

// out[r], rows of `stride`: each feature's part. `words`: of the micro-batch.
Status embedding_bag_forward(const EmbeddingShape& shape, const EmbeddingFeature* features, const int32_t* words,
                             float* out, size_t stride, CudaStream stream);
Status embedding_bag_forward(const EmbeddingShape& shape, const EmbeddingFeature* features, const int32_t* words,
                             kernels::Bfloat16* out, size_t stride, CudaStream stream);

// A step's lookups, in device memory: pairs of row (among those of all tables; table_rows or more where there is none,
// as in bytes of 0xFF) and example and feature (example << 8 | feature), each [slots][lookups].
struct EmbeddingLookups {
  uint32_t* rows = nullptr;
  uint32_t* places = nullptr;
};

// Writes the part of micro-batch *slot (0 where `slot` is null).
Status embedding_bag_list(const EmbeddingShape& shape, const EmbeddingFeature* features, const int32_t* words,
                          const uint32_t* slot, const EmbeddingLookups& lookups, CudaStream stream);

// Where a feature of the examples of some micro-batches lies, apart from their rows: that of example r of micro-batch m
// begins at values + ((m - first_slot) * rows + r) * stride. Kernels read an array of them, one a feature, in device
// memory.
struct EmbeddingPart {
  kernels::Bfloat16* values = nullptr;
  size_t stride = 0;
};

// out[r], rows of `stride`: each feature's part, as it lies in `parts` for micro-batch *slot. Of `features` only
// columns and dims are looked at.
Status embedding_bag_gather(const EmbeddingShape& shape, const EmbeddingFeature* features, const uint32_t* slot,
                            const EmbeddingPart* parts, uint32_t first_slot, kernels::Bfloat16* out, size_t stride,
                            CudaStream stream);

// parts = a[r] + b[r] (a[r] where b is null), divided by the number of the example's codes where they are averaged: the
// gradient of each lookup of micro-batch *slot (first_slot where `slot` is null). Rows of `stride`.
Status embedding_bag_keep(const EmbeddingShape& shape, const EmbeddingFeature* features, const int32_t* words,
                          const uint32_t* slot, const kernels::Bfloat16* a, const kernels::Bfloat16* b, size_t stride,
                          const EmbeddingPart* parts, uint32_t first_slot, CudaStream stream);

// Of one step, in device memory; null: 1.
struct EmbeddingStep {
  const float* learning_rate_factor = nullptr;
  const int32_t* is_applied = nullptr;  // 0: all stays as it is
};

// Bytes of `scratch`.
Result<size_t> embedding_bag_update_scratch(const EmbeddingShape& shape);
// Moves the rows that were looked up. gradients[slots * rows], in rows of `stride`: of each lookup, in its feature's
// columns. `lookups` stays as it is. `scratch` on a border of 256 bytes.
Status embedding_bag_update(const EmbeddingShape& shape, const EmbeddingFeature* features,
                            const EmbeddingLookups& lookups, const float* gradients, size_t stride,
                            const kernels::RowwiseAdagradStep& adagrad, const EmbeddingStep& step, std::byte* scratch,
                            CudaStream stream);
Status embedding_bag_update(const EmbeddingShape& shape, const EmbeddingFeature* features,
                            const EmbeddingLookups& lookups, const kernels::Bfloat16* gradients, size_t stride,
                            const kernels::RowwiseAdagradStep& adagrad, const EmbeddingStep& step, std::byte* scratch,
                            CudaStream stream);

}  // namespace freshet::cuda
