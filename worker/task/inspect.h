// The inspection of new data entries: what is in each file, and how the champion scores on it. Bad data is a finding in
// the report, never a failure of the task. One call at a time per process is enough; it spreads over `threads` by
// itself. It judges nothing (scheduler/validation does).
#pragma once

#include "base/status.h"
#include "proto/attempt.pb.h"
#include "worker/model/predict.h"

namespace freshet::worker {

// One profile per entry of the task, in its order; `champion` may be null. A profile's error says why the file can't be
// used: it can't be read, a column is of no usable type, the label breaks the recipe's rules, or the champion needs a
// column that the recipe doesn't. A column of the recipe that isn't in the file is absent from `columns`.
Result<v1::InspectionReport> inspect(const v1::InspectTask& task, const Predictor* champion, unsigned threads);

}  // namespace freshet::worker
