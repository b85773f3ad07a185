// Replays: a registered version is trained again from its record, in a run of its own that registers nothing. When the
// model that it started from was collected, that one is trained again first, and so on: one step of the run for each
// version of the chain. Reads the store; adds to a change, commits nothing. Any thread.
#pragma once

#include <string>

#include "daemon/control/context.h"
#include "daemon/control/run_factory.h"
#include "proto/attempt.pb.h"
#include "proto/run.pb.h"

namespace freshet::control {

// Adds the run to `change` and returns it. not_found when the version or a part of its record is not there;
// invalid_argument when it was not made by a train step; corrupt when the parts of its record contradict each other.
Result<v1::Run> add_replay_run(const Snapshot& snapshot, Context& context, const std::string& project,
                               const std::string& version, const RunRequest& request, Change* change);

// What the ranks of a replay step are told, and whose training it is.
struct BuiltReplay {
  v1::ReplayTask task;
  uint64_t seed = 0;
  v1::Recipe recipe;
};
Result<BuiltReplay> build_replay(const Snapshot& snapshot, const v1::Run& run, const v1::Step& step);

// A replay step whose attempt succeeded: its report becomes part of the run, and its message says what was found. In a
// run that replays a version the step fails when the weights had to be the same and are not; else a gate may judge.
// An error says why the report can't be read.
Status settle_replay(const Context& context, const v1::Step& step, v1::Run* run, v1::StepStatus* status);

}  // namespace freshet::control
