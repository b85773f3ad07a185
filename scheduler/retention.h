// Which versions of a pipeline keep their artifacts. A pure decision over what is known of the versions: same input,
// same answer, with a sentence for each that people are shown. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "proto/model.pb.h"
#include "proto/pipeline.pb.h"

namespace freshet::scheduler {

// How an alias has to do with a version.
struct AliasUse {
  std::string alias;
  Time until = Time::never();  // when it stopped pointing there; never: it still does
  bool is_fallback = false;    // a rollback would go there
};

struct VersionFacts {
  uint64_t version = 0;
  bool passed = false;          // its gates
  std::optional<double> score;  // retention_score()
  std::vector<AliasUse> aliases;
};

struct RetentionDecision {
  bool keep = false;
  std::string reason;
};

// The version's value of the metric that the policy ranks by, turned so that larger is better; nullopt without one.
std::optional<double> retention_score(const v1::Retention& policy, const v1::ModelVersion& version);

// One decision a version, in the order given, which is ascending. The policy's defaults are filled in.
std::vector<RetentionDecision> decide_retention(const v1::Retention& policy, const std::vector<VersionFacts>& versions,
                                                Time now);

}  // namespace freshet::scheduler
