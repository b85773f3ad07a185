// The evaluate step: candidate and champion on the same held-out rows, each through its own transform. One call at a
// time per process is enough; it spreads over `threads` by itself and gives the same bits for any number of them. It
// judges nothing (the daemon's gates do).
#pragma once

#include "base/status.h"
#include "proto/attempt.pb.h"
#include "proto/evaluation.pb.h"
#include "worker/model/predict.h"

namespace freshet::worker {

// `champion` may be null. The rows scored are those of the holdout's entries that have a label, of a class that both
// models know; weights are scaled to a mean of 1 over them. Memory: a batch, and what is kept of each row, which is its
// label, weight, predictions and losses. invalid_argument when the holdout shares an entry (URI or content) with what a
// model was trained on, when the champion predicts another label, when the data can't be read (see Table and
// Transform), or when a prediction isn't finite.
Result<v1::EvaluationReport> evaluate(const v1::EvaluateTask& task, const Predictor& candidate,
                                      const Predictor* champion, unsigned threads);

}  // namespace freshet::worker
