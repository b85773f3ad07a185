#include "worker/model/tabular_batch.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace freshet::worker {
namespace {

// Rows that are on their way from memory.
constexpr size_t kAhead = 12;
constexpr size_t kLineFloats = 16;

// Appends the codes of one row of a multi-valued feature.
void append_bag(std::span<const int32_t> codes, std::span<const uint32_t> ends, uint32_t row,
                std::vector<int32_t>* to) {
  const uint32_t begin = row == 0 ? 0 : ends[row - 1];
  to->insert(to->end(), codes.begin() + begin, codes.begin() + ends[row]);
}

}  // namespace

TabularBuffer::TabularBuffer(const TabularShape& shape, size_t rows_max)
    : rows_max_(rows_max),
      numeric_features_(shape.numeric),
      codes_(shape.categorical.size()),
      offsets_(shape.categorical.size()),
      numeric_(rows_max * shape.numeric),
      label_(rows_max),
      weight_(rows_max) {
  for (size_t f = 0; f < codes_.size(); ++f) {
    if (shape.categorical[f].multi_valued) {
      offsets_[f].resize(rows_max + 1);
    } else {
      codes_[f].resize(rows_max);
    }
  }
}

void TabularBuffer::gather(const EncodedRows& rows, std::span<const uint32_t> indices) {
  CHECK(indices.size() <= rows_max_);
  rows_ = indices.size();
  has_label_ = !rows.label.empty();
  has_weight_ = !rows.weight.empty();
  for (size_t f = 0; f < codes_.size(); ++f) {
    const auto& codes = rows.categorical[f];
    if (offsets_[f].empty()) {
      for (size_t r = 0; r < rows_; ++r) codes_[f][r] = codes[indices[r]];
      continue;
    }
    codes_[f].clear();
    for (size_t r = 0; r < rows_; ++r) {
      append_bag(codes, rows.ends[f], indices[r], &codes_[f]);
      offsets_[f][r + 1] = static_cast<uint32_t>(codes_[f].size());
    }
  }
  for (size_t n = 0; n < numeric_features_; ++n) {
    for (size_t r = 0; r < rows_; ++r) numeric_[r * numeric_features_ + n] = rows.numeric[n][indices[r]];
  }
  for (size_t r = 0; r < rows_ && has_label_; ++r) label_[r] = rows.label[indices[r]];
  for (size_t r = 0; r < rows_ && has_weight_; ++r) weight_[r] = rows.weight[indices[r]];
}

TabularBatch TabularBuffer::batch(size_t first, size_t count) const {
  CHECK(first + count <= rows_);
  TabularBatch batch;
  batch.rows = count;
  for (size_t f = 0; f < codes_.size(); ++f) {
    if (offsets_[f].empty()) {
      batch.categorical.push_back({codes_[f].data() + first, nullptr});
    } else {
      batch.categorical.push_back({codes_[f].data(), offsets_[f].data() + first});
    }
  }
  batch.numeric = numeric_.data() + first * numeric_features_;
  if (has_label_) batch.label = label_.data() + first;
  if (has_weight_) batch.weight = weight_.data() + first;
  return batch;
}

PackedRows::PackedRows(const TabularShape& shape, const EncodedRows& rows)
    : rows_(rows.rows),
      numeric_(shape.numeric),
      has_weight_(!rows.weight.empty()),
      packed_(rows.label.get_allocator()),
      bag_codes_(shape.categorical.size()),
      bag_ends_(shape.categorical.size()) {
  for (size_t f = 0; f < shape.categorical.size(); ++f) {
    if (shape.categorical[f].multi_valued) {
      multi_valued_.push_back(f);
      bag_codes_[f] = rows.categorical[f];
      bag_ends_[f] = rows.ends[f];
    } else {
      single_valued_.push_back(f);
    }
  }
  double mean = 0;
  for (float weight : rows.weight) mean += static_cast<double>(weight);
  mean /= static_cast<double>(rows_);
  stride_ = numeric_ + 1 + (has_weight_ ? 1 : 0) + single_valued_.size();
  packed_.resize(rows_ * stride_);
  for (size_t r = 0; r < rows_; ++r) {
    float* to = packed_.data() + r * stride_;
    for (const auto& column : rows.numeric) *to++ = column[r];
    *to++ = rows.label[r];
    if (has_weight_) *to++ = static_cast<float>(static_cast<double>(rows.weight[r]) / mean);
    for (size_t f : single_valued_) *to++ = std::bit_cast<float>(rows.categorical[f][r]);
  }
}

void PackedRows::begin(size_t rows, TabularBuffer* buffer) const {
  CHECK(rows <= buffer->rows_max_);
  buffer->rows_ = rows;
  buffer->has_label_ = true;
  buffer->has_weight_ = has_weight_;
}

void PackedRows::gather(std::span<const uint32_t> indices, size_t first, TabularBuffer* buffer) const {
  auto fetch = [&](uint32_t row) {
    const float* from = packed_.data() + row * stride_;
    for (size_t at = 0; at < stride_ + kLineFloats; at += kLineFloats) __builtin_prefetch(from + at);
  };
  for (size_t r = 0; r < std::min(kAhead, indices.size()); ++r) fetch(indices[r]);
  for (size_t r = 0; r < indices.size(); ++r) {
    if (r + kAhead < indices.size()) fetch(indices[r + kAhead]);
    const float* from = packed_.data() + indices[r] * stride_;
    float* numeric = buffer->numeric_.data() + (first + r) * numeric_;
    for (size_t n = 0; n < numeric_; ++n) numeric[n] = *from++;
    buffer->label_[first + r] = *from++;
    if (has_weight_) buffer->weight_[first + r] = *from++;
    for (size_t f : single_valued_) buffer->codes_[f][first + r] = std::bit_cast<int32_t>(*from++);
  }
}

void PackedRows::gather_bags(size_t feature, std::span<const uint32_t> indices, TabularBuffer* buffer) const {
  auto& codes = buffer->codes_[feature];
  auto& offsets = buffer->offsets_[feature];
  codes.clear();
  for (size_t r = 0; r < indices.size(); ++r) {
    append_bag(bag_codes_[feature], bag_ends_[feature], indices[r], &codes);
    offsets[r + 1] = static_cast<uint32_t>(codes.size());
  }
}

}  // namespace freshet::worker
