// Fitting: what a Transform learns from the training rows. Pure and single-threaded, in row order and double precision,
// so that one input gives one result. It checks the label and the features' values, and reads no file.
#pragma once

#include "base/status.h"
#include "proto/recipe.pb.h"
#include "proto/transform.pb.h"
#include "worker/data/table.h"

namespace freshet::worker {

// See Transform::fit. `previous` (may be null) must be of a model with the same features.
Result<v1::TransformState> fit_state(const v1::TabularModel& model, const Table& training,
                                     const v1::TransformState* previous);

}  // namespace freshet::worker
