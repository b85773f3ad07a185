// Transform: what turns raw columns into EncodedRows. It is fitted on the training rows only, stored with the model
// (transform.json) and used unchanged wherever that model is scored, so training and serving can't drift apart.
// Immutable once made; any thread. It reads no file (Table does).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/recipe.pb.h"
#include "proto/transform.pb.h"
#include "worker/data/column.h"
#include "worker/data/encoded.h"
#include "worker/data/label.h"

namespace freshet::worker {

// What a Table must be read with: to encode features, and to fit or encode with labels. Sorted, without doubles.
std::vector<ColumnRequest> feature_columns(const v1::TabularModel& model);
std::vector<ColumnRequest> required_columns(const v1::TabularModel& model);
// The second, and how the model says that the columns of files without a header are named.
ColumnSet training_columns(const v1::TabularModel& model);

class Fitter;  // worker/data/fit.h

class Transform {
 public:
  // Fits vocabularies, classes (sorted by bytes) and means / standard deviations over the rows that have a label and a
  // weight above 0; the weights count in means and deviations. The numbers of a list share one scaling. `previous` (may
  // be null) is the transform of the model that training is warm-started from: its codes, classes and scaling are kept,
  // new categories and classes get the next codes. invalid_argument for a constant label, no rows, NaN or infinite
  // values, a label that is also a feature; conflict when `previous` has other features.
  static Result<Transform> fit(const v1::TabularModel& model, const Table& training, const Transform* previous);
  // The same from rows that came in batches.
  static Result<Transform> fit(const Fitter& fitter);

  // transform.json (canonical JSON of v1::TransformState) and back; from_json(to_json()) is the identity.
  std::string to_json() const;
  static Result<Transform> from_json(const std::string& json);

  // Encodes the rows of `table` in their order, leaving out rows without a label or of an unknown class.
  // invalid_argument names a missing column or a wrong type; a non-finite value is an error that names column and
  // entry.
  Result<EncodedRows> encode(const Table& table) const;
  // Encodes all rows, without labels (scoring; the table needs no label column).
  Result<EncodedRows> encode_features(const Table& table) const;

  const v1::TransformState& state() const;
  // The features and label it was fitted for (what the model's inputs mean), with embedding widths filled in.
  const v1::TabularModel& model() const;
  // Number of codes (vocabulary or hash buckets, + 1 for unknown) per categorical feature.
  std::vector<uint32_t> cardinalities() const;
  // Of the model's inputs: a feature with a length is as many.
  size_t numeric_features() const;
  // MULTICLASS: how many; else 0.
  size_t classes() const;
  // The labels of these rows with the classes numbered as the model does; see read_labels.
  Result<Labels> labels(const Table& table) const;
  // Whether a model of `other` can start from this one's weights: the same features in the same order, the same label
  // and the same layers. Weights of rows and names of columns in files may differ.
  bool same_features(const v1::TabularModel& other) const;
  // REGRESSION: raw = standardised * scale + mean. BINARY: 0 and 1.
  double label_mean() const;
  double label_scale() const;

  Transform(Transform&&) noexcept;
  Transform& operator=(Transform&&) noexcept;
  ~Transform();

 private:
  struct Impl;
  explicit Transform(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace freshet::worker
