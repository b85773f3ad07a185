// Evaluation and inspection of a gpt, as evaluate.h and inspect.h have them for tables. Losses are sums over an entry's
// bytes, so models whose tokens differ can be compared. One device scores all models of a report: `accelerator`, where
// there is one, takes them all and has the memory, else the CPU. One call at a time; each spreads over `threads` by
// itself and gives the same bits for any number of them.
#pragma once

#include "base/status.h"
#include "proto/attempt.pb.h"
#include "proto/evaluation.pb.h"
#include "worker/checkpoint/gpt_artifact.h"
#include "worker/task/accelerator.h"

namespace freshet::worker {

// `champion` may be null. invalid_argument as in evaluate(), and when the recipe asks for slices, which text has none
// of.
Result<v1::EvaluationReport> evaluate_text(const v1::EvaluateTask& task, const GptArtifact& candidate,
                                           const GptArtifact* champion, unsigned threads,
                                           Accelerator* accelerator = nullptr);

// A profile's rows are the entry's documents; `champion` may be null. An entry that can't be read, or on which the
// champion's loss is not finite, is a profile with an error.
Result<v1::InspectionReport> inspect_text(const v1::InspectTask& task, const GptArtifact* champion, unsigned threads,
                                          Accelerator* accelerator = nullptr);

}  // namespace freshet::worker
