// The gates: whether a candidate may replace the champion, judged on the numbers of one evaluation report. Pure and
// seeded, so the verdict can be recomputed to the bit. Any thread. It measures nothing and moves no alias.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <cstdint>
#include <vector>

#include "proto/evaluation.pb.h"
#include "proto/pipeline.pb.h"
#include "proto/replay.pb.h"

namespace freshet::scheduler {

// Judges every gate, also after one has failed, and explains each with the numbers it saw. Passes when all pass, so
// with no gates at all too. A number that is not finite, a metric or a column that the report lacks fails its gate.
// Relative and slice gates pass when the report has no champion. The caller sets report_digest.
// `replay` is the candidate's; null: there was none, which fails a gate on it.
v1::Verdict judge(const google::protobuf::RepeatedPtrField<v1::Gate>& gates, const v1::EvaluationReport& report,
                  const v1::ReplayReport* replay = nullptr);

// One block of the paired bootstrap: all rows of one entry.
struct PairedLoss {
  double difference = 0;  // sum over rows of (champion loss - candidate loss)
  uint64_t rows = 0;
};

struct BootstrapInterval {
  double mean = 0;  // of the sample itself: sum of differences / sum of rows
  double lower = 0;
  double upper = 0;
};

// The percentile interval of the mean difference per row when whole blocks are drawn with replacement. `blocks` is not
// empty and has rows; resample r draws its i-th block with counter r * blocks + i of Philox(seed). Nearest rank, so
// each end is a value that some resample had.
BootstrapInterval paired_bootstrap(const std::vector<PairedLoss>& blocks, double confidence, uint32_t resamples,
                                   uint64_t seed);

}  // namespace freshet::scheduler
