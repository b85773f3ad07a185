#include "daemon/control/restore_fence.h"

#include <algorithm>

#include "daemon/control/agent_service.h"
#include "daemon/control/run_index.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "scheduler/run_graph.h"

namespace freshet::control {
namespace {

constexpr uint64_t kTermStep = 1 << 20;
constexpr uint64_t kEpochStep = 1000;
constexpr int64_t kEpochSecondsMax = 10'000'000;
constexpr const char* kReason = "the store was restored from a backup";

Change new_change(const std::string& action) {
  Change change;
  change.actor = "freshet restore";
  change.action = action;
  change.reason = kReason;
  return change;
}

// More than the starts since the backup, and later than every restore before this one, of the same backup too: a daemon
// starts less than once a second.
Status raise_term(Store& store, Time now) {
  auto snapshot = store.snapshot();
  ASSIGN_OR_RETURN(auto stored, get<v1::DaemonTerm>(*snapshot, keys::daemon_term()));
  const uint64_t seen = stored ? stored->value.term() : 0;
  const auto seconds = static_cast<uint64_t>(std::max<int64_t>(0, now.us / 1'000'000));
  v1::DaemonTerm term;
  term.set_term(std::max(seen + kTermStep, seconds));
  term.set_started_us(now.us);
  Change change = new_change("raise the term to " + std::to_string(term.term()));
  expect(change, keys::daemon_term(), stored ? stored->revision : 0);
  put(change, keys::daemon_term(), term);
  return store.commit(std::move(change)).status();
}

Status give_up_attempts(Store& store, Time now) {
  auto snapshot = store.snapshot();
  ASSIGN_OR_RETURN(auto attempts, active_attempts(*snapshot));
  for (auto& attempt : attempts) {
    Change change = new_change("give up gang " + attempt.value.gang_id());
    attempt.value.mutable_exit()->set_cause(v1::ExitRecord::LOST);
    attempt.value.mutable_exit()->set_message(kReason);
    finish_attempt(&attempt.value, v1::Attempt::LOST, now, &change);
    update(change, attempt);
    RETURN_IF_ERROR(store.commit(std::move(change)).status());
  }
  return Status::ok();
}

// Work that was under way is ready again; none of its budget is spent.
Status raise_epochs(Store& store, Time now, uint64_t step) {
  auto snapshot = store.snapshot();
  ASSIGN_OR_RETURN(auto references, list_references(*snapshot, keys::runs_by_state()));
  for (const Reference& reference : references) {
    ASSIGN_OR_RETURN(auto run, require<v1::Run>(*snapshot, reference.target, reference.target));
    if (scheduler::is_final(run.value.state())) continue;
    const v1::Run before = run.value;
    for (auto& status : *run.value.mutable_steps()) {
      if (scheduler::is_final(status.state())) continue;
      status.set_epoch(status.epoch() + step);
      if (status.state() != v1::StepStatus::RUNNING) continue;
      status.set_state(v1::StepStatus::READY);
      status.set_ready_us(now.us);
    }
    Change change = new_change("raise the epochs of run " + run.value.id());
    update_run(before, run, &change);
    RETURN_IF_ERROR(store.commit(std::move(change)).status());
  }
  ASSIGN_OR_RETURN(auto inspections, pending_inspections(*snapshot));
  for (auto& inspection : inspections) {
    inspection.value.set_epoch(inspection.value.epoch() + step);
    inspection.value.set_state(v1::Inspection::PENDING);
    Change change = new_change("raise the epoch of inspection " + inspection.value.id());
    update(change, inspection);
    RETURN_IF_ERROR(store.commit(std::move(change)).status());
  }
  return Status::ok();
}

}  // namespace

// The step of the epochs grows with the time since the backup, so that restoring the same backup again lands behind
// what came of the time before: an attempt takes more than a second. It is bounded, since epochs begin the keys of
// metric points.
Status fence_restored(Store& store, Time now, Time backed_up) {
  const int64_t seconds = std::clamp<int64_t>((now - backed_up).us / 1'000'000, 0, kEpochSecondsMax);
  RETURN_IF_ERROR(raise_term(store, now));
  RETURN_IF_ERROR(give_up_attempts(store, now));
  return raise_epochs(store, now, kEpochStep + static_cast<uint64_t>(seconds));
}

}  // namespace freshet::control
