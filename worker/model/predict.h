// Scoring: what evaluation and inspection need of a trained model, whatever its family.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "base/status.h"
#include "worker/data/encoded.h"
#include "worker/data/transform.h"

namespace freshet::worker {

class Predictor {
 public:
  virtual ~Predictor() = default;
  // The model's own transform (data scored by it must be encoded by it).
  virtual const Transform& transform() const = 0;
  // BINARY: a row's logit. REGRESSION: the prediction in raw units. MULTICLASS: a logit for each class, row after row.
  // Same bits for any `threads`.
  virtual Result<std::vector<float>> predict(const EncodedRows& rows, unsigned threads) const = 0;
};

// Loads a model artifact's directory (model.safetensors, transform.json), verifying every file against manifest.json.
Result<std::unique_ptr<Predictor>> load_predictor(const std::filesystem::path& directory);

}  // namespace freshet::worker
