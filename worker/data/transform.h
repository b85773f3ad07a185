// Transform: what turns raw columns into EncodedRows. It is fitted on the training rows only, stored with the model
// (transform.json) and used unchanged wherever that model is scored, so training and serving can't drift apart.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/recipe.pb.h"
#include "worker/data/encoded.h"

namespace freshet::worker {

class Table;  // worker/data/table.h: decoded Arrow columns of some entries

class Transform {
 public:
  // Fits vocabularies (sorted by bytes) and means / standard deviations. `previous` (may be null) is the transform of
  // the model that training is warm-started from: its codes and scaling are kept, new categories get the next codes.
  static Result<Transform> fit(const v1::TabularModel& model, const Table& training, const Transform* previous);

  // transform.json and back; from_json(to_json()) is the identity, and the bytes are canonical.
  std::string to_json() const;
  static Result<Transform> from_json(const std::string& json);

  // Encodes the rows of `table` in their order. invalid_argument names a missing column or a wrong type; a non-finite
  // value is an error that names column and entry.
  Result<EncodedRows> encode(const Table& table) const;

  // The features and label it was fitted for (what the model's inputs mean).
  const v1::TabularModel& model() const;
  // Number of codes (vocabulary + 1 for unknown) and embedding width per categorical feature.
  std::vector<uint32_t> cardinalities() const;
  // Whether a model with the features of `other` can start from this one's weights.
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
