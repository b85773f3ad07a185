// Whether a data entry may enter a DatasetVersion, judged on what its inspection measured and on the entries accepted
// before it. Pure; any thread. It reads no file: a profile is all it sees. A person can override it with a release.
#pragma once

#include <string>
#include <vector>

#include "proto/dataset.pb.h"
#include "proto/pipeline.pb.h"
#include "proto/recipe.pb.h"

namespace freshet::scheduler {

struct EntryJudgement {
  bool accepted = false;
  std::string reason;  // empty when accepted; else every rule that it breaks, with the number and the bound
};

// `accepted` are the profiles that the entry is compared with; without any, only the rules that need no comparison
// apply. The label's mean is compared for BINARY only. Ranges are compared for numeric features that are used as they
// are and for the label, where the accepted values have a width. Without a champion its floor is not checked.
EntryJudgement judge_entry(const v1::Validation& validation, const v1::TrainStep& step, const v1::EntryProfile& profile,
                           const std::vector<v1::EntryProfile>& accepted);

}  // namespace freshet::scheduler
