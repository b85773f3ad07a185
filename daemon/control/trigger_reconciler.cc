#include "daemon/control/trigger_reconciler.h"

#include <algorithm>

#include "base/crash_point.h"
#include "base/log.h"
#include "daemon/control/run_factory.h"
#include "daemon/control/run_index.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"

namespace freshet::control {
namespace {

constexpr Duration kRetry = Duration::seconds(1);

}  // namespace

Time TriggerReconciler::reconcile(Time now) {
  auto snapshot = context_.store.snapshot();
  auto triggers = list<v1::TriggerRecord>(*snapshot, keys::triggers());
  if (!triggers.is_ok()) {
    log_warning("trigger", triggers.status().to_string());
    return now + kRetry;
  }
  Time wake = Time::never();
  for (const auto& trigger : *triggers) {
    auto next = reconcile_one(trigger.value, now);
    if (!next.is_ok()) {
      log_warning("trigger", trigger.value.trigger().metadata().name() + ": " + next.status().to_string());
      wake = std::min(wake, now + kRetry);
    } else {
      wake = std::min(wake, *next);
    }
  }
  return wake;
}

Result<scheduler::TriggerObservation> TriggerReconciler::observe(const Snapshot& snapshot, const v1::Trigger& trigger,
                                                                 const v1::PipelineRecord& pipeline,
                                                                 const v1::TriggerState& state) {
  const std::string& project = trigger.metadata().project();
  scheduler::TriggerObservation seen;
  ASSIGN_OR_RETURN(seen.run_active, has_active_run(snapshot, project, trigger.spec().pipeline()));
  if (trigger.spec().has_new_data()) {
    const v1::InputSpec* input = find_input(pipeline.pipeline().spec(), trigger.spec().new_data().input());
    if (input == nullptr) {
      return invalid_argument("it watches input '" + trigger.spec().new_data().input() + "', which pipeline " +
                              trigger.spec().pipeline() + " does not have");
    }
    ASSIGN_OR_RETURN(auto entries,
                     list<v1::EntryRecord>(snapshot, keys::entries(project, trigger.spec().pipeline(), input->name())));
    for (const auto& record : entries) {
      const v1::EntryRecord& entry = record.value;
      if (entry.state() == v1::EntryRecord::ARRIVED) seen.inspecting = true;
      if (entry.state() != v1::EntryRecord::GONE && entry.state() != v1::EntryRecord::DISCARDED) {
        seen.newest_arrival = std::max(seen.newest_arrival, Time{entry.observed_us()});
      }
      if (entry.state() != v1::EntryRecord::ACCEPTED) continue;
      seen.newest_order = std::max(seen.newest_order, entry.order());
      if (entry.order() <= state.entries_consumed()) continue;
      ++seen.new_entries;
      seen.new_rows += entry.profile().rows();
    }
  }
  if (trigger.spec().has_new_commit()) {
    const std::string& source = trigger.spec().new_commit().source();
    seen.head_commit = context_.sources.observe(project, source).head_commit;
    // A commit that carries the pipeline's recipe counts once the recipe is adopted, and not at all when it is refused.
    if (source == pipeline.pipeline().spec().recipe_from().source()) {
      ASSIGN_OR_RETURN(auto code,
                       get<v1::PipelineCode>(snapshot, keys::pipeline_code(project, trigger.spec().pipeline())));
      seen.head_commit = code ? code->value.commit() : std::string();
    }
    seen.first_commit = state.last_commit().empty();
    if (!seen.head_commit.empty() && !seen.first_commit && seen.head_commit != state.last_commit()) {
      ASSIGN_OR_RETURN(seen.changed_paths,
                       context_.sources.changed_paths(project, source, state.last_commit(), seen.head_commit));
    }
  }
  return seen;
}

Result<Time> TriggerReconciler::reconcile_one(const v1::TriggerRecord& record, Time now) {
  const v1::Trigger& trigger = record.trigger();
  const std::string& project = trigger.metadata().project();
  const std::string& name = trigger.metadata().name();
  if (trigger.spec().paused()) return Time::never();

  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto pipeline,
                   get<v1::PipelineRecord>(*snapshot, keys::pipeline(project, trigger.spec().pipeline())));
  if (!pipeline) return Time::never();
  const std::string state_key = keys::trigger_state(project, name);
  ASSIGN_OR_RETURN(auto stored, get<v1::TriggerState>(*snapshot, state_key));
  v1::TriggerState state;
  if (stored) state = stored->value;
  state.set_project(project);
  state.set_name(name);

  ASSIGN_OR_RETURN(auto seen, observe(*snapshot, trigger, pipeline->value, state));
  auto decision = scheduler::evaluate_trigger(trigger.spec(), seen, state, now);

  Change change;
  change.actor = "control/trigger";
  change.action = "evaluate trigger " + name;
  expect(change, state_key, stored ? stored->revision : 0);
  if (decision.kind == scheduler::TriggerDecision::Kind::kFire) {
    RunRequest request;
    request.trigger = name;
    request.cause = "trigger " + name + ": " + decision.reason;
    const Status room = context_.admit();
    auto run = room.is_ok() ? add_run(*snapshot, context_, pipeline->value, request, &change) : Result<v1::Run>(room);
    if (run.is_ok()) {
      change.action = "create run " + run->id();
      change.reason = request.cause;
      decision.state.set_last_run_id(run->id());
      put(change, state_key, decision.state);
      CRASH_POINT("trigger.firing.before_commit");
      RETURN_IF_ERROR(context_.commit(std::move(change)).status());
      CRASH_POINT("trigger.firing.after_commit");
      log_info("trigger", name + " fired: " + decision.reason + "; run " + run->id());
      return decision.wake_at;
    }
    // It would fire, but there is nothing to run yet: nothing is consumed, and the reason is shown.
    if (room.is_ok() && run.status().code() != Code::kInvalidArgument) return run.status();
    decision.state = state;
    // How much is free changes all the time, and each change would be a commit.
    decision.reason =
        "ready to fire, but " + (room.is_ok() ? run.status().message() : "the daemon's disk is almost full");
    change.writes.clear();
  }
  decision.state.set_last_decision(decision.reason);
  if (!stored || serialize(decision.state) != serialize(stored->value)) {
    change.reason = decision.reason;
    put(change, state_key, decision.state);
    CRASH_POINT("trigger.state.before_commit");
    RETURN_IF_ERROR(context_.commit(std::move(change)).status());
    CRASH_POINT("trigger.state.after_commit");
  }
  return decision.wake_at;
}

}  // namespace freshet::control
