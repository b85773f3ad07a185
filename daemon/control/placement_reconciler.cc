#include "daemon/control/placement_reconciler.h"

#include "base/crash_point.h"
#include "base/log.h"
#include "daemon/control/artifact_use.h"
#include "daemon/control/queue.h"
#include "daemon/control/run_index.h"
#include "daemon/control/task_builder.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "proto/record.pb.h"

namespace freshet::control {
namespace {

constexpr Duration kRetry = Duration::seconds(1);

// Adds the attempt, its stored spec, its indexes and nothing else; the caller updates what the attempt is for.
Status add_attempt(const Snapshot& snapshot, Context& context, const std::string& node, uint64_t epoch, uint32_t slots,
                   BuiltTask built, Time now, Change* change) {
  v1::Attempt attempt;
  *attempt.mutable_work() = built.spec.work();
  attempt.set_epoch(epoch);
  attempt.set_gang_id(new_id(context.random));
  attempt.set_node(node);
  attempt.set_ranks(built.spec.ranks());
  attempt.set_slots(slots);
  attempt.set_state(v1::Attempt::PLACED);
  attempt.set_placed_us(now.us);
  attempt.set_term(context.term);
  attempt.set_champion_version(built.champion_version);
  built.spec.set_epoch(epoch);
  built.spec.set_term(context.term);
  built.spec.set_gang_id(attempt.gang_id());
  const std::string key = keys::attempt(attempt.work(), epoch);
  create(*change, key, attempt);
  create(*change, keys::attempt_spec(attempt.work(), epoch), built.spec);
  put_reference(*change, keys::active_attempt(attempt.work(), epoch), key);
  put_reference(*change, keys::gang(attempt.gang_id()), key);
  change->actor = "control/placement";
  change->action = "place attempt " + std::to_string(epoch) + " of " + keys::work(attempt.work());
  change->reason = "node " + node + " has " + std::to_string(slots) + " free slots";
  for (const auto& digest : artifacts_of(built.spec)) {
    RETURN_IF_ERROR(use_artifact(snapshot, digest, "gang " + attempt.gang_id(), change));
  }
  return Status::ok();
}

}  // namespace

Time PlacementReconciler::reconcile(Time now) {
  auto snapshot = context_.store.snapshot();
  auto scheduling = scheduling_snapshot(*snapshot);
  if (!scheduling.is_ok()) {
    log_warning("placement", scheduling.status().to_string());
    return now + kRetry;
  }
  Time wake = Time::never();
  auto plan = scheduler::make_plan(*scheduling, placement_policy(context_), now);
  for (const auto& placement : plan.placements) {
    Status status = is_step_item(placement.key) ? place_step(*snapshot, placement, now)
                                                : place_inspection(*snapshot, placement, now);
    // A conflict means that what was planned for has changed: the next round plans afresh.
    if (status.is_ok() || status.code() == Code::kConflict) continue;
    log_warning("placement", placement.key + ": " + status.to_string());
    wake = now + kRetry;
  }
  return wake;
}

Status PlacementReconciler::place_step(const Snapshot& snapshot, const scheduler::Placement& placement, Time now) {
  const auto [run_key, step] = parse_step_item(placement.key);
  ASSIGN_OR_RETURN(auto run, require<v1::Run>(snapshot, run_key, run_key));
  const v1::Run before = run.value;
  v1::StepStatus* status = find_status(&run.value, step);
  CHECK(status != nullptr);
  Change change;
  auto built = build_step_task(snapshot, run.value, step);
  if (built.is_ok()) {
    status->set_epoch(status->epoch() + 1);
    status->set_state(v1::StepStatus::RUNNING);
    run.value.set_state(v1::Run::RUNNING);
    RETURN_IF_ERROR(add_attempt(snapshot, context_, placement.node, status->epoch(), status->slots(), std::move(*built),
                                now, &change));
  } else if (built.status().code() == Code::kInvalidArgument) {
    // The recipe asks for what can't be: no retry will help.
    status->set_state(v1::StepStatus::FAILED);
    status->set_message(built.status().message());
    status->set_finished_us(now.us);
    change.actor = "control/placement";
    change.action = "refuse step " + step + " of run " + run.value.id();
    change.reason = built.status().message();
  } else {
    return built.status();
  }
  update_run(before, run, &change);
  CRASH_POINT("placement.step.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("placement.step.after_commit");
  return committed.status();
}

Status PlacementReconciler::place_inspection(const Snapshot& snapshot, const scheduler::Placement& placement,
                                             Time now) {
  ASSIGN_OR_RETURN(auto inspection, require<v1::Inspection>(snapshot, placement.key, placement.key));
  ASSIGN_OR_RETURN(BuiltTask built, build_inspection_task(snapshot, inspection.value));
  Change change;
  inspection.value.set_epoch(inspection.value.epoch() + 1);
  inspection.value.set_state(v1::Inspection::RUNNING);
  RETURN_IF_ERROR(
      add_attempt(snapshot, context_, placement.node, inspection.value.epoch(), 1, std::move(built), now, &change));
  update(change, inspection);
  CRASH_POINT("placement.inspection.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("placement.inspection.after_commit");
  return committed.status();
}

}  // namespace freshet::control
