#include "daemon/control/run_reconciler.h"

#include <algorithm>

#include "base/crash_point.h"
#include "base/log.h"
#include "daemon/control/outbox.h"
#include "daemon/control/promotion.h"
#include "daemon/control/replay.h"
#include "daemon/control/run_index.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "scheduler/retry.h"
#include "scheduler/run_graph.h"

namespace freshet::control {
namespace {

constexpr Duration kRetry = Duration::seconds(1);

void finish_step(v1::StepStatus* status, v1::StepStatus::State state, const std::string& message, Time now) {
  status->set_state(state);
  status->set_message(message);
  status->set_finished_us(now.us);
}

// An attempt ended badly: counts the failure and says whether the work is tried again.
template <class Work>
scheduler::RetryDecision account_failure(const v1::Attempt& attempt, uint32_t max_attempts, Work* work) {
  auto decision =
      scheduler::decide_retry(attempt.exit(), work->failures(), work->infrastructure_failures(), max_attempts);
  if (decision.users_fault) {
    work->set_failures(work->failures() + 1);
  } else if (attempt.state() != v1::Attempt::STOPPED) {
    work->set_infrastructure_failures(work->infrastructure_failures() + 1);
  }
  work->set_message(decision.reason);
  return decision;
}

void take_outcome(const v1::Attempt& attempt, uint32_t max_attempts, v1::StepStatus* status, Time now) {
  if (attempt.state() == v1::Attempt::SUCCEEDED) {
    *status->mutable_outputs() = attempt.outputs();
    finish_step(status, v1::StepStatus::SUCCEEDED, "", now);
    return;
  }
  auto decision = account_failure(attempt, max_attempts, status);
  if (decision.retry) {
    status->set_state(v1::StepStatus::READY);
    status->set_ready_us(now.us);
  } else {
    finish_step(status, v1::StepStatus::FAILED, decision.reason, now);
  }
}

// Whether it says something of the candidate. Anything else, a disk that is full or fails now, is tried again.
bool is_verdict(const Status& judged) {
  return judged.code() == Code::kInvalidArgument || judged.code() == Code::kNotFound || judged.code() == Code::kCorrupt;
}

// The run's own timeline: what happened first on the way from arrival to the end.
void copy_milestones(const v1::Attempt& attempt, v1::Run* run) {
  if (attempt.placed_us() != 0) add_milestone(run, "placed", Time{attempt.placed_us()});
  if (attempt.started_us() != 0) add_milestone(run, "launched", Time{attempt.started_us()});
  for (const auto& milestone : attempt.milestones()) add_milestone(run, milestone.name(), Time{milestone.time_us()});
}

}  // namespace

Time RunReconciler::reconcile(Time now) {
  auto snapshot = context_.store.snapshot();
  bool failed = false;
  auto note = [&](const Status& status, const std::string& what) {
    if (status.is_ok() || status.code() == Code::kConflict) return;
    log_warning("run", what + ": " + status.to_string());
    failed = true;
  };
  auto runs = list_referenced<v1::Run>(*snapshot, keys::due_runs());
  note(runs.status(), "due runs");
  if (runs.is_ok()) {
    for (const auto& run : *runs) note(advance_run(*snapshot, run, now), "run " + run.value.id());
  }
  auto inspections = pending_inspections(*snapshot);
  note(inspections.status(), "inspections");
  if (inspections.is_ok()) {
    for (const auto& inspection : *inspections) {
      note(advance_inspection(*snapshot, inspection, now), "inspection " + inspection.value.id());
    }
  }
  return failed ? now + kRetry : Time::never();
}

Status RunReconciler::advance_run(const Snapshot& snapshot, Record<v1::Run> record, Time now) {
  v1::Run& run = record.value;
  const v1::Run before = run;
  ASSIGN_OR_RETURN(v1::PipelineRecord pipeline, pipeline_of(snapshot, run));
  Change change;
  change.actor = "control/run";

  for (auto& status : *run.mutable_steps()) {
    if (status.state() != v1::StepStatus::RUNNING) continue;
    ASSIGN_OR_RETURN(auto attempt,
                     get<v1::Attempt>(snapshot, keys::attempt(step_work(run, status.name()), status.epoch())));
    if (!attempt) continue;
    if (find_step(run.recipe(), status.name()).has_train()) copy_milestones(attempt->value, &run);
    if (attempt->value.started_us() != 0 && run.started_us() == 0) run.set_started_us(attempt->value.started_us());
    if (!scheduler::is_final(attempt->value.state())) continue;
    uint32_t max_attempts = resources_of(pipeline.pipeline().spec(), status.name()).max_attempts();
    take_outcome(attempt->value, max_attempts, &status, now);
    const v1::Step& step = find_step(run.recipe(), status.name());
    if (step.has_replay() && status.state() == v1::StepStatus::SUCCEEDED) {
      Status settled = settle_replay(context_, step, &run, &status);
      if (!settled.is_ok() && !is_verdict(settled)) return settled;
      if (!settled.is_ok()) finish_step(&status, v1::StepStatus::FAILED, settled.message(), now);
    }
    change.reason = "step " + status.name() + ": " + v1::StepStatus::State_Name(status.state());
  }
  make_ready(&run, now);
  for (auto& status : *run.mutable_steps()) {
    if (status.state() != v1::StepStatus::READY || !find_step(run.recipe(), status.name()).has_promote()) continue;
    // The one step that has no process: judged and committed right here.
    CRASH_POINT("promotion.candidate.before_judgement");
    Status judged = judge_and_promote(snapshot, context_, pipeline, &run, &status, now, &change);
    CRASH_POINT("promotion.candidate.before_commit");
    if (!judged.is_ok() && !is_verdict(judged)) return judged;
    if (!judged.is_ok()) finish_step(&status, v1::StepStatus::FAILED, judged.message(), now);
  }
  for (const std::string& name : scheduler::newly_skipped(run.recipe(), run)) {
    finish_step(find_status(&run, name), v1::StepStatus::SKIPPED, "a step it needs did not succeed", now);
  }
  v1::Run::State settled = scheduler::settled_state(run);
  if (settled != run.state()) {
    CHECK(scheduler::may_move(run.state(), settled));
    run.set_state(settled);
    if (scheduler::is_final(settled)) {
      run.set_finished_us(now.us);
      for (const auto& status : run.steps()) {
        if (status.state() == v1::StepStatus::FAILED)
          run.set_message("step " + status.name() + ": " + status.message());
      }
      add_run_finished(context_, &change, run);
      CRASH_POINT("run.end.before_commit");
      log_info("run",
               run.id() + " " + v1::Run::State_Name(settled) + (run.message().empty() ? "" : ": " + run.message()));
    }
  }
  if (serialize(run) == serialize(before)) return Status::ok();
  change.action = "advance run " + run.id();
  if (change.reason.empty()) change.reason = "its steps or their attempts moved on";
  update_run(before, record, &change);
  CRASH_POINT("run.progress.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("run.progress.after_commit");
  return committed.status();
}

Status RunReconciler::advance_inspection(const Snapshot& snapshot, Record<v1::Inspection> record, Time now) {
  v1::Inspection& inspection = record.value;
  if (inspection.state() != v1::Inspection::RUNNING) return Status::ok();
  ASSIGN_OR_RETURN(auto attempt,
                   get<v1::Attempt>(snapshot, keys::attempt(inspection_work(inspection), inspection.epoch())));
  if (!attempt || !scheduler::is_final(attempt->value.state()) || attempt->value.state() == v1::Attempt::SUCCEEDED) {
    return Status::ok();  // a success is judged by the catalog
  }
  Change change;
  change.actor = "control/run";
  change.action = "inspection " + inspection.id() + " failed";
  auto decision = account_failure(attempt->value, 3, &inspection);
  change.reason = decision.reason;
  inspection.set_state(v1::Inspection::PENDING);
  if (!decision.retry) {
    inspection.set_state(v1::Inspection::FAILED);
    inspection.set_finished_us(now.us);
    erase(change, keys::pending_inspection(inspection.project(), inspection.id()));
    for (const auto& entry : inspection.entries()) {
      const std::string key =
          keys::entry(inspection.project(), inspection.pipeline(), inspection.input(), entry.uri(), entry.sha256());
      ASSIGN_OR_RETURN(auto entry_record, get<v1::EntryRecord>(snapshot, key));
      if (!entry_record || entry_record->value.state() != v1::EntryRecord::ARRIVED) continue;
      entry_record->value.set_state(v1::EntryRecord::QUARANTINED);
      entry_record->value.set_reason("its inspection failed: " + decision.reason);
      entry_record->value.set_decided_us(now.us);
      update(change, *entry_record);
    }
  }
  update(change, record);
  CRASH_POINT("inspection.failure.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("inspection.failure.after_commit");
  return committed.status();
}

}  // namespace freshet::control
