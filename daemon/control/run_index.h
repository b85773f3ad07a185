// Every write of a Run goes through here, because a run has entries in indexes that must be in the same commit: by
// time, by pipeline, by state, the steps that wait for a place, the runs that the run loop looks at. What entries a run
// has is a function of its record alone, so that they can be recounted. Adds to a change, commits nothing; any thread.
#pragma once

#include <set>
#include <string>

#include "daemon/store/store.h"
#include "daemon/store/tables.h"
#include "proto/run.pb.h"

namespace freshet::control {

// The keys of the run's entries; each points to the run.
std::set<std::string> run_index(const v1::Run& run);

void create_run(const v1::Run& run, Change* change);
// `run` as read and then changed; `before` as it was read.
void update_run(const v1::Run& before, const Record<v1::Run>& run, Change* change);

// Whether a run of the pipeline is queued or running, replays apart: they make no new version.
Result<bool> has_active_run(const Snapshot& snapshot, const std::string& project, const std::string& pipeline);

}  // namespace freshet::control
