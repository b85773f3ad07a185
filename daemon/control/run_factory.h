// Makes a Run and everything that must be in the same commit: its DatasetVersions, its indexes and, for a trigger, the
// state that the firing consumes. Shared by the trigger loop and by `submit`; writes nothing itself.
#pragma once

#include <string>

#include "base/time.h"
#include "daemon/control/context.h"
#include "proto/record.pb.h"
#include "proto/run.pb.h"

namespace freshet::control {

struct RunRequest {
  std::string cause;    // "trigger flights-new-data: 45 new entries hold 746,000 rows"
  std::string trigger;  // empty: a person
  std::string idempotency_key;
  std::string commit;  // of the recipe's repository; empty: the adopted revision
};

// Adds the run to `change` and returns it. Fails with invalid_argument when the pipeline can't run now, saying what is
// missing (no recipe yet, not enough accepted entries).
Result<v1::Run> add_run(const Snapshot& snapshot, Context& context, const v1::PipelineRecord& pipeline,
                        const RunRequest& request, Change* change);

// The accepted entries of an input, in the order of their URIs.
Result<std::vector<v1::EntryRecord>> accepted_entries(const Snapshot& snapshot, const std::string& project,
                                                      const std::string& pipeline, const std::string& input);

}  // namespace freshet::control
