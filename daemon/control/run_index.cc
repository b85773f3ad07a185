#include "daemon/control/run_index.h"

#include <algorithm>

#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "scheduler/run_graph.h"

namespace freshet::control {
namespace {

// Whether the run loop has something to do for it, or will have when an attempt ends.
bool is_due(const v1::Run& run) {
  if (scheduler::is_final(run.state())) return false;
  for (const auto& status : run.steps()) {
    if (status.state() == v1::StepStatus::RUNNING) return true;
    if (status.state() == v1::StepStatus::READY && find_step(run.recipe(), status.name()).has_promote()) return true;
  }
  return scheduler::settled_state(run) != run.state() || !scheduler::newly_ready(run.recipe(), run).empty() ||
         !scheduler::newly_skipped(run.recipe(), run).empty();
}

}  // namespace

std::set<std::string> run_index(const v1::Run& run) {
  const Time created{run.created_us()};
  const std::string& state = v1::Run::State_Name(run.state());
  std::set<std::string> entries = {
      keys::run_by_time(run.project(), created, run.id()),
      keys::run_by_pipeline(run.project(), run.pipeline(), created, run.id()),
      keys::run_by_state(run.project(), state, created, run.id()),
      keys::run_by_pipeline_state(run.project(), run.pipeline(), state, created, run.id()),
  };
  if (is_due(run)) entries.insert(keys::due_run(run.project(), run.id()));
  if (scheduler::is_final(run.state())) return entries;
  for (const auto& status : run.steps()) {
    if (status.state() != v1::StepStatus::READY) continue;
    if (find_step(run.recipe(), status.name()).has_promote()) continue;  // needs no place
    entries.insert(keys::ready_step(status.slots(), run.priority(), Time{status.ready_us()}, run.project(), run.id(),
                                    status.name()));
  }
  return entries;
}

void create_run(const v1::Run& run, Change* change) {
  const std::string key = keys::run(run.project(), run.id());
  create(*change, key, run);
  for (const std::string& entry : run_index(run)) put_reference(*change, entry, key);
}

void update_run(const v1::Run& before, const Record<v1::Run>& run, Change* change) {
  update(*change, run);
  const std::set<std::string> old_entries = run_index(before);
  const std::set<std::string> new_entries = run_index(run.value);
  for (const std::string& entry : old_entries) {
    if (!new_entries.contains(entry)) erase(*change, entry);
  }
  for (const std::string& entry : new_entries) {
    if (!old_entries.contains(entry)) put_reference(*change, entry, run.key);
  }
}

Result<bool> has_active_run(const Snapshot& snapshot, const std::string& project, const std::string& pipeline) {
  for (v1::Run::State state : {v1::Run::QUEUED, v1::Run::RUNNING}) {
    const std::string prefix = keys::runs_by_pipeline_state(project, pipeline, v1::Run::State_Name(state));
    for (std::string after;;) {
      ASSIGN_OR_RETURN(auto found, list_references(snapshot, prefix, after, 1));
      if (found.empty()) break;
      ASSIGN_OR_RETURN(auto run, require<v1::Run>(snapshot, found[0].target, found[0].target));
      if (run.value.replay_of().empty()) return true;
      after = found[0].key;
    }
  }
  return false;
}

}  // namespace freshet::control
