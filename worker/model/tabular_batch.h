// Rows as a tabular model takes them in: TabularBatch shows some of them, TabularBuffer is the memory that they are
// gathered into, PackedRows is a training set whose rows lie each in one place, so that drawing one at random costs a
// line or two of memory instead of one for every feature. Plain memory; a buffer has one owner.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/data/encoded.h"
#include "worker/model/tabular_shape.h"

namespace freshet::worker {

struct TabularBatch {
  struct Codes {
    const int32_t* codes = nullptr;     // of the first row on
    const uint32_t* offsets = nullptr;  // null: a code a row; else the codes of row r are [offsets[r], offsets[r + 1])
  };
  size_t rows = 0;
  std::vector<Codes> categorical;  // [feature]
  const float* numeric = nullptr;  // [row][feature]
  const float* label = nullptr;    // [row]; null for scoring
  const float* weight = nullptr;   // [row]; null: all count the same
};

class TabularBuffer {
 public:
  // For up to `rows_max` rows.
  TabularBuffer(const TabularShape& shape, size_t rows_max);

  // These rows, from the columns.
  void gather(const EncodedRows& rows, std::span<const uint32_t> indices);
  // The gathered rows [first, first + count).
  TabularBatch batch(size_t first, size_t count) const;

  size_t rows_max() const { return rows_max_; }
  size_t rows() const { return rows_; }
  // [feature]: of all gathered rows, one after the other; `offsets` is empty for a feature with a code a row.
  const std::vector<int32_t>& codes(size_t feature) const { return codes_[feature]; }
  std::vector<int32_t>& codes(size_t feature) { return codes_[feature]; }
  const std::vector<uint32_t>& offsets(size_t feature) const { return offsets_[feature]; }

 private:
  friend class PackedRows;
  size_t rows_max_;
  size_t numeric_features_;
  size_t rows_ = 0;
  bool has_label_ = false, has_weight_ = false;
  std::vector<std::vector<int32_t>> codes_;
  std::vector<std::vector<uint32_t>> offsets_;
  std::vector<float> numeric_, label_, weight_;
};

class PackedRows {
 public:
  // The rows must fit the shape and have labels (TabularModel::check_rows). Their weights are divided by their mean, so
  // that only what they are to each other matters.
  PackedRows(const TabularShape& shape, const EncodedRows& rows);

  size_t rows() const { return rows_; }

  // The buffer is to hold `rows` rows: before gather() and gather_bags().
  void begin(size_t rows, TabularBuffer* buffer) const;
  // All but bags of these rows, as rows [first, ...) of the buffer. Any thread, on rows of its own.
  void gather(std::span<const uint32_t> indices, size_t first, TabularBuffer* buffer) const;
  // The bags of a multi-valued feature, of all rows of the buffer. Any thread, on a feature of its own.
  void gather_bags(size_t feature, std::span<const uint32_t> indices, TabularBuffer* buffer) const;
  const std::vector<size_t>& multi_valued() const { return multi_valued_; }

 private:
  size_t rows_;
  size_t numeric_;
  bool has_weight_;
  std::vector<size_t> single_valued_, multi_valued_;  // features
  size_t stride_ = 0;
  // As the rows, in their Scratch.
  ScratchVector<float> packed_;                    // [row]: numeric features, label, weight, then codes by their bits
  std::vector<ScratchVector<int32_t>> bag_codes_;  // [feature], as in EncodedRows
  std::vector<ScratchVector<uint32_t>> bag_ends_;
};

}  // namespace freshet::worker
