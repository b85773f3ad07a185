#include "daemon/control/attempt_reconciler.h"

#include <algorithm>

#include "base/crash_point.h"
#include "base/log.h"
#include "daemon/control/outbox.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "proto/agent.pb.h"
#include "proto/record.pb.h"
#include "scheduler/run_graph.h"

namespace freshet::control {
namespace {

constexpr Duration kResend = Duration::seconds(1);

}  // namespace

Time AttemptReconciler::reconcile(Time now) {
  auto snapshot = context_.store.snapshot();
  Time wake = Time::never();
  auto note = [&](const Status& status, const std::string& what) {
    if (status.is_ok() || status.code() == Code::kConflict) return;
    log_warning("attempt", what + ": " + status.to_string());
    wake = std::min(wake, now + kResend);
  };
  note(check_nodes(*snapshot, now, &wake), "nodes");
  auto attempts = active_attempts(*snapshot);
  note(attempts.status(), "active attempts");
  if (!attempts.is_ok()) return wake;
  if (attempts->empty()) last_sent_.clear();
  for (const auto& attempt : *attempts) {
    note(drive(*snapshot, attempt, now, &wake), "gang " + attempt.value.gang_id());
  }
  return wake;
}

Status AttemptReconciler::check_nodes(const Snapshot& snapshot, Time now, Time* wake) {
  ASSIGN_OR_RETURN(auto nodes, list<v1::NodeRecord>(snapshot, keys::nodes()));
  Time monotonic = context_.clock.monotonic();
  for (auto& node : nodes) {
    const std::string& name = node.value.name();
    bool connected = context_.agents.connected(name);
    Duration silent = monotonic - agents_.last_heard(name);
    Duration lease = Duration::millis(context_.lease_ms);
    v1::NodeRecord::Liveness liveness = node.value.liveness();
    if (connected && silent < lease) {
      *wake = std::min(*wake, now + (lease - silent));
      if (liveness == v1::NodeRecord::ALIVE) continue;
      liveness = v1::NodeRecord::ALIVE;
    } else if (silent < lease) {
      *wake = std::min(*wake, now + (lease - silent));
      if (liveness != v1::NodeRecord::ALIVE) continue;
      liveness = v1::NodeRecord::UNKNOWN;
    } else {
      if (liveness == v1::NodeRecord::DEAD) continue;
      liveness = v1::NodeRecord::DEAD;
    }
    Change change;
    change.actor = "control/attempt";
    change.action = "node " + name + " is " + v1::NodeRecord::Liveness_Name(liveness);
    change.reason = "last heard " + std::to_string(silent.us / 1000) + " ms ago";
    node.value.set_liveness(liveness);
    node.value.set_changed_us(now.us);
    update(change, node);
    if (liveness == v1::NodeRecord::DEAD) {
      add_node_lost(context_, &change, node.value, change.reason);
      ASSIGN_OR_RETURN(auto attempts, active_attempts(snapshot));
      for (auto& attempt : attempts) {
        if (attempt.value.node() != name) continue;
        attempt.value.mutable_exit()->set_cause(v1::ExitRecord::LOST);
        attempt.value.mutable_exit()->set_message("node " + name + " was silent for longer than its lease of " +
                                                  std::to_string(context_.lease_ms) + " ms");
        finish_attempt(&attempt.value, v1::Attempt::LOST, now, &change);
        update(change, attempt);
      }
    }
    log_warning("attempt", change.action + ": " + change.reason);
    CRASH_POINT("node.liveness.before_commit");
    RETURN_IF_ERROR(context_.commit(std::move(change)).status());
    CRASH_POINT("node.liveness.after_commit");
    // What it still runs is fenced, and only its hello brings the order to stop.
    if (liveness == v1::NodeRecord::DEAD) agents_.require_hello(name);
  }
  return Status::ok();
}

Result<bool> AttemptReconciler::wanted(const Snapshot& snapshot, const v1::Attempt& attempt) {
  const v1::WorkRef& work = attempt.work();
  if (!work.inspection_id().empty()) {
    ASSIGN_OR_RETURN(auto inspection,
                     get<v1::Inspection>(snapshot, keys::inspection(work.project(), work.inspection_id())));
    return inspection && inspection->value.state() == v1::Inspection::RUNNING &&
           inspection->value.epoch() == attempt.epoch();
  }
  ASSIGN_OR_RETURN(auto run, get<v1::Run>(snapshot, keys::run(work.project(), work.run_id())));
  if (!run || scheduler::is_final(run->value.state())) return false;
  const v1::StepStatus* status = find_status(&run->value, work.step());
  return status != nullptr && status->state() == v1::StepStatus::RUNNING && status->epoch() == attempt.epoch();
}

void AttemptReconciler::send(const std::string& node, const std::string& purpose, const v1::DaemonFrame& frame,
                             Time* wake, Time now) {
  Time monotonic = context_.clock.monotonic();
  auto sent = last_sent_.find(purpose);
  *wake = std::min(*wake, now + kResend);
  if (sent != last_sent_.end() && monotonic - sent->second < kResend) return;
  if (context_.agents.send(node, frame)) last_sent_[purpose] = monotonic;
}

Status AttemptReconciler::drive(const Snapshot& snapshot, Record<v1::Attempt> record, Time now, Time* wake) {
  v1::Attempt& attempt = record.value;
  const std::string& gang = attempt.gang_id();
  ASSIGN_OR_RETURN(bool is_wanted, wanted(snapshot, attempt));
  if (!is_wanted) {
    CRASH_POINT("attempt.stop.before_send");
    send(attempt.node(), "stop " + gang, stop_frame(context_.term, gang, "nobody wants its result any more"), wake,
         now);
    CRASH_POINT("attempt.stop.after_send");
    if (attempt.state() == v1::Attempt::RUNNING) return Status::ok();  // its exit will be reported
    Change change;
    change.actor = "control/attempt";
    change.action = "withdraw gang " + gang;
    change.reason = "it was not started yet";
    finish_attempt(&attempt, v1::Attempt::STOPPED, now, &change);
    update(change, record);
    CRASH_POINT("attempt.withdrawal.before_commit");
    auto committed = context_.commit(std::move(change));
    CRASH_POINT("attempt.withdrawal.after_commit");
    return committed.status();
  }
  v1::DaemonFrame frame;
  if (attempt.state() == v1::Attempt::PLACED) {
    frame.mutable_prepare()->set_term(context_.term);
    *frame.mutable_prepare()->mutable_work() = attempt.work();
    frame.mutable_prepare()->set_epoch(attempt.epoch());
    frame.mutable_prepare()->set_gang_id(gang);
    CRASH_POINT("attempt.prepare.before_send");
    send(attempt.node(), "prepare " + gang, frame, wake, now);
    CRASH_POINT("attempt.prepare.after_send");
  } else if (attempt.state() == v1::Attempt::PREPARED) {
    ASSIGN_OR_RETURN(auto spec, require<v1::AttemptSpec>(snapshot, keys::attempt_spec(attempt.work(), attempt.epoch()),
                                                         "attempt spec"));
    frame.mutable_launch()->set_term(context_.term);
    *frame.mutable_launch()->mutable_attempt() = spec.value;
    CRASH_POINT("attempt.launch.before_send");
    send(attempt.node(), "launch " + gang, frame, wake, now);
    CRASH_POINT("attempt.launch.after_send");
  }
  return Status::ok();
}

}  // namespace freshet::control
