// Fitting: what a Transform learns from the training rows, which arrive in batches. The rows are in parts, numbered in
// their order; batches of one part come in order from one thread at a time, different parts from several threads. Sums
// are made at the end, in row order and double precision, so that one input gives one result. It checks the label, the
// weights and the features' values, and reads no file.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/status.h"
#include "proto/recipe.pb.h"
#include "proto/transform.pb.h"
#include "worker/data/scratch.h"
#include "worker/data/table.h"

namespace freshet::worker {

// What encoding a part gives.
struct PartSize {
  size_t rows = 0;            // those that have a label
  std::vector<size_t> codes;  // [categorical feature] their values; of a feature with one value a row 0
};

class Fitter {
 public:
  // `previous` (may be null) must be of a model with the same features and live as long. `entries` is how many the rows
  // come from, for messages. The numbers that means and deviations are made of lie in `scratch` (null: the heap).
  // invalid_argument: see check_model.
  static Result<Fitter> create(const v1::TabularModel& model, const v1::TransformState* previous, size_t parts,
                               size_t entries, const std::shared_ptr<Scratch>& scratch);

  // See Transform::fit for what is refused.
  Status add(size_t part, const Table& batch);

  // Once all rows were added.
  Result<v1::TransformState> state() const;
  const PartSize& size(size_t part) const;
  // Gives back what only state() needs.
  void forget_numbers();

  Fitter(Fitter&&) noexcept;
  ~Fitter();

 private:
  struct Impl;
  explicit Fitter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace freshet::worker
