// The entries that a candidate is judged on. Pure; any thread.
#pragma once

#include "base/status.h"
#include "proto/attempt.pb.h"

namespace freshet::worker {

// invalid_argument when there is none, when one is not among the task's data, or when a model was trained on one (the
// same URI or the same content).
Result<v1::DatasetVersion> holdout_of(const v1::EvaluateTask& task);

}  // namespace freshet::worker
