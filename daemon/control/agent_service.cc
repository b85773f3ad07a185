#include "daemon/control/agent_service.h"

#include <algorithm>
#include <set>

#include "base/crash_point.h"
#include "base/log.h"
#include "daemon/control/artifact_use.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "scheduler/run_graph.h"

namespace freshet::control {
namespace {

constexpr uint32_t kStopGraceMs = 5000;
// Metric chunks of later attempts sort behind those of earlier ones.
constexpr uint64_t kChunksPerEpoch = 1'000'000'000'000;

v1::DaemonFrame ack_frame(const std::string& gang_id, uint64_t sequence) {
  v1::DaemonFrame frame;
  frame.mutable_journal_ack()->set_gang_id(gang_id);
  frame.mutable_journal_ack()->set_sequence(sequence);
  return frame;
}

v1::DaemonFrame forget_frame(uint64_t term, const std::string& gang_id) {
  v1::DaemonFrame frame;
  frame.mutable_forget()->set_term(term);
  frame.mutable_forget()->set_gang_id(gang_id);
  return frame;
}

v1::Attempt::State state_after(const v1::ExitRecord& exit) {
  if (exit.cause() == v1::ExitRecord::EXITED && exit.code() == 0) return v1::Attempt::SUCCEEDED;
  if (exit.cause() == v1::ExitRecord::STOPPED) return v1::Attempt::STOPPED;
  if (exit.cause() == v1::ExitRecord::LOST) return v1::Attempt::LOST;
  return v1::Attempt::FAILED;
}

// What the task must have left behind when it says that it succeeded.
std::string expected_output(const v1::AttemptSpec& spec) {
  if (spec.has_train()) return "model";
  if (spec.has_evaluate() || spec.has_inspect() || spec.has_replay()) return "report";
  return "";
}

bool has_output(const v1::Attempt& attempt, const std::string& type) {
  return std::any_of(attempt.outputs().begin(), attempt.outputs().end(),
                     [&](const auto& output) { return output.type() == type; });
}

// How much of a gang's journal is applied. Chunks that change the attempt are audited, those of metrics alone are not,
// and no key is written by both: so there are two counters, and the higher one holds.
struct JournalPosition {
  std::string key, metrics_key;
  std::optional<Record<v1::Counter>> stored, metrics_stored;
  uint64_t value = 0;
};

Result<JournalPosition> journal_position(const Snapshot& snapshot, const std::string& gang_id) {
  JournalPosition position;
  position.key = keys::journal_position(gang_id);
  position.metrics_key = keys::metrics_position(gang_id);
  ASSIGN_OR_RETURN(position.stored, get<v1::Counter>(snapshot, position.key));
  ASSIGN_OR_RETURN(position.metrics_stored, get<v1::Counter>(snapshot, position.metrics_key));
  if (position.stored) position.value = position.stored->value.value();
  if (position.metrics_stored) position.value = std::max(position.value, position.metrics_stored->value.value());
  return position;
}

// Retries a change that lost a race against another writer of the same record.
template <class Function>
auto with_retry(Function function) -> decltype(function()) {
  for (int attempt = 0;; ++attempt) {
    auto result = function();
    Status status;
    if constexpr (std::is_same_v<decltype(result), Status>) {
      status = result;
    } else {
      status = result.status();
    }
    if (status.code() != Code::kConflict || attempt == 10) return result;
  }
}

}  // namespace

v1::DaemonFrame stop_frame(uint64_t term, const std::string& gang_id, const std::string& reason) {
  v1::DaemonFrame frame;
  frame.mutable_stop()->set_term(term);
  frame.mutable_stop()->set_gang_id(gang_id);
  frame.mutable_stop()->set_grace_ms(kStopGraceMs);
  frame.mutable_stop()->set_reason(reason);
  return frame;
}

void finish_attempt(v1::Attempt* attempt, v1::Attempt::State state, Time now, Change* change) {
  attempt->set_state(state);
  attempt->set_finished_us(now.us);
  erase(*change, keys::active_attempt(attempt->work(), attempt->epoch()));
}

Time AgentService::last_heard(const std::string& node) {
  std::lock_guard lock(mutex_);
  return last_heard_.try_emplace(node, context_.clock.monotonic()).first->second;
}

void AgentService::require_hello(const std::string& node) {
  std::lock_guard lock(mutex_);
  must_greet_.insert(node);
}

void AgentService::on_closed(const std::string& node) {
  if (node.empty()) return;
  log_warning("agents", "node " + node + " disconnected");
  context_.wake();
}

Result<std::vector<v1::DaemonFrame>> AgentService::on_frame(std::string* node, const v1::AgentFrame& frame) {
  if (node->empty() && !frame.has_hello()) return invalid_argument("an agent's first frame must be its hello");
  if (frame.has_hello()) {
    {
      // Heard, whether or not it can be recorded: a node is not given up because the daemon's disk is full.
      std::lock_guard lock(mutex_);
      last_heard_[frame.hello().node()] = context_.clock.monotonic();
    }
    ASSIGN_OR_RETURN(auto replies, with_retry([&] { return on_hello(frame.hello()); }));
    *node = frame.hello().node();
    context_.wake();
    return replies;
  }
  {
    std::lock_guard lock(mutex_);
    if (must_greet_.contains(*node)) {
      return unavailable("node " + *node + " was silent for longer than its lease; it must connect again");
    }
    last_heard_[*node] = context_.clock.monotonic();
  }
  std::vector<v1::DaemonFrame> replies;
  switch (frame.frame_case()) {
    case v1::AgentFrame::kHeartbeat:
      replies.emplace_back().mutable_heartbeat_ack()->set_sent_us(frame.heartbeat().sent_us());
      return replies;
    case v1::AgentFrame::kPrepared:
      RETURN_IF_ERROR(with_retry([&] { return on_prepared(*node, frame.prepared()); }));
      break;
    case v1::AgentFrame::kLaunched:
      RETURN_IF_ERROR(with_retry([&] { return on_launched(*node, frame.launched()); }));
      break;
    case v1::AgentFrame::kJournal: {
      ASSIGN_OR_RETURN(replies, with_retry([&] { return on_journal(*node, frame.journal()); }));
      break;
    }
    default:
      return invalid_argument("unknown frame from agent " + *node + "; its version may be newer than the daemon's");
  }
  return replies;
}

Result<std::optional<Record<v1::Attempt>>> AgentService::attempt_of_gang(const Snapshot& snapshot,
                                                                         const std::string& gang_id) {
  ASSIGN_OR_RETURN(auto reference, get_reference(snapshot, keys::gang(gang_id)));
  if (!reference) return std::optional<Record<v1::Attempt>>();
  return get<v1::Attempt>(snapshot, reference->target);
}

Status AgentService::add_gang_to_welcome(const Snapshot& snapshot, const std::string& node, const v1::GangStatus& gang,
                                         v1::Welcome* welcome, std::vector<v1::DaemonFrame>* replies) {
  ASSIGN_OR_RETURN(auto attempt, attempt_of_gang(snapshot, gang.gang_id()));
  auto* journal = welcome->add_journals();
  journal->set_gang_id(gang.gang_id());
  if (attempt && !scheduler::is_final(attempt->value.state())) {
    ASSIGN_OR_RETURN(JournalPosition position, journal_position(snapshot, gang.gang_id()));
    journal->set_sequence(position.value);
    log_info("agents", "adopted gang " + gang.gang_id() + " of " + keys::work(attempt->value.work()) + " on " + node);
    return Status::ok();
  }
  // Fenced, ended, or never ours: nothing of it counts any more.
  journal->set_sequence(gang.journal_last());
  if (gang.running()) replies->push_back(stop_frame(context_.term, gang.gang_id(), "its attempt is over"));
  replies->push_back(forget_frame(context_.term, gang.gang_id()));
  return Status::ok();
}

Result<std::vector<v1::DaemonFrame>> AgentService::on_hello(const v1::AgentHello& hello) {
  if (hello.node().empty()) return invalid_argument("an agent must name its node");
  if (hello.highest_term() > context_.term) {
    return conflict("agent " + hello.node() + " has obeyed a daemon of term " + std::to_string(hello.highest_term()) +
                    ", newer than this one's " + std::to_string(context_.term));
  }
  Time now = context_.clock.now();
  auto snapshot = context_.store.snapshot();
  std::vector<v1::DaemonFrame> replies(1);
  v1::Welcome* welcome = replies[0].mutable_welcome();
  welcome->set_term(context_.term);
  welcome->set_heartbeat_ms(context_.heartbeat_ms);
  welcome->set_lease_ms(context_.lease_ms);

  Change change;
  change.actor = "agent/" + hello.node();
  change.action = "connect node " + hello.node();
  change.reason = "its agent says hello with " + std::to_string(hello.gangs_size()) + " gangs";
  const std::string key = keys::node(hello.node());
  ASSIGN_OR_RETURN(auto stored, get<v1::NodeRecord>(*snapshot, key));
  v1::NodeRecord node;
  node.set_name(hello.node());
  node.set_boot_id(hello.boot_id());
  node.set_slots(hello.slots());
  node.set_memory_bytes(hello.memory_bytes());
  node.set_agent_version(hello.version());
  node.set_cpu(hello.cpu());
  node.set_liveness(v1::NodeRecord::ALIVE);
  node.set_changed_us(now.us);
  expect(change, key, stored ? stored->revision : 0);
  put(change, key, node);

  std::set<std::string> present;
  for (const auto& gang : hello.gangs()) {
    present.insert(gang.gang_id());
    v1::Welcome* into = replies[0].mutable_welcome();  // `replies` may have grown
    RETURN_IF_ERROR(add_gang_to_welcome(*snapshot, hello.node(), gang, into, &replies));
  }
  ASSIGN_OR_RETURN(auto attempts, active_attempts(*snapshot));
  for (auto& attempt : attempts) {
    if (attempt.value.node() != hello.node() || attempt.value.state() != v1::Attempt::RUNNING) continue;
    if (present.contains(attempt.value.gang_id())) continue;
    attempt.value.mutable_exit()->set_cause(v1::ExitRecord::LOST);
    attempt.value.mutable_exit()->set_message("node " + hello.node() + " no longer has the gang");
    finish_attempt(&attempt.value, v1::Attempt::LOST, now, &change);
    update(change, attempt);
  }
  CRASH_POINT("agents.hello.before_commit");
  RETURN_IF_ERROR(context_.commit(std::move(change)).status());
  CRASH_POINT("agents.hello.after_commit");
  {
    std::lock_guard lock(mutex_);
    must_greet_.erase(hello.node());
  }
  log_info("agents", "node " + hello.node() + " connected, " + std::to_string(hello.slots()) + " slots, " +
                         std::to_string(hello.gangs_size()) + " gangs");
  return replies;
}

Status AgentService::on_prepared(const std::string& node, const v1::PrepareReply& reply) {
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto attempt, attempt_of_gang(*snapshot, reply.gang_id()));
  if (!attempt || attempt->value.state() != v1::Attempt::PLACED) return Status::ok();
  Change change;
  change.actor = "agent/" + node;
  if (reply.error().empty()) {
    change.action = "prepared gang " + reply.gang_id();
    change.reason = "its epoch is on the node's disk";
    attempt->value.set_state(v1::Attempt::PREPARED);
  } else {
    change.action = "refused gang " + reply.gang_id();
    change.reason = reply.error();
    attempt->value.mutable_exit()->set_cause(v1::ExitRecord::START_FAILED);
    attempt->value.mutable_exit()->set_message("node " + node + " refused it: " + reply.error());
    finish_attempt(&attempt->value, v1::Attempt::FAILED, context_.clock.now(), &change);
  }
  update(change, *attempt);
  CRASH_POINT("agents.prepared.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("agents.prepared.after_commit");
  return committed.status();
}

Status AgentService::on_launched(const std::string& node, const v1::LaunchReply& reply) {
  if (reply.error().empty()) return Status::ok();  // the journal tells when the ranks run
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto attempt, attempt_of_gang(*snapshot, reply.gang_id()));
  if (!attempt || attempt->value.state() != v1::Attempt::PREPARED) return Status::ok();
  Change change;
  change.actor = "agent/" + node;
  change.action = "could not launch gang " + reply.gang_id();
  change.reason = reply.error();
  attempt->value.mutable_exit()->set_cause(v1::ExitRecord::START_FAILED);
  attempt->value.mutable_exit()->set_message("node " + node + " could not start it: " + reply.error());
  finish_attempt(&attempt->value, v1::Attempt::FAILED, context_.clock.now(), &change);
  update(change, *attempt);
  CRASH_POINT("agents.launch_failure.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("agents.launch_failure.after_commit");
  return committed.status();
}

Result<std::vector<v1::DaemonFrame>> AgentService::on_journal(const std::string& node, const v1::JournalChunk& chunk) {
  std::vector<v1::DaemonFrame> replies;
  if (chunk.entries_size() == 0) return replies;
  uint64_t last = chunk.entries(chunk.entries_size() - 1).sequence();
  bool ends = chunk.entries(chunk.entries_size() - 1).has_exit();
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto attempt, attempt_of_gang(*snapshot, chunk.gang_id()));
  if (!attempt || scheduler::is_final(attempt->value.state())) {
    // A fenced attempt still talks: it is heard out and changes nothing.
    replies.push_back(ack_frame(chunk.gang_id(), last));
    replies.push_back(ends ? forget_frame(context_.term, chunk.gang_id())
                           : stop_frame(context_.term, chunk.gang_id(), "its attempt is over"));
    return replies;
  }
  ASSIGN_OR_RETURN(JournalPosition position, journal_position(*snapshot, chunk.gang_id()));

  Change change;
  change.actor = "agent/" + node;
  change.action = "journal of gang " + chunk.gang_id();
  std::vector<const v1::JournalEntry*> metrics;
  const std::string before = serialize(attempt->value);
  const uint64_t applied_before = position.value;
  for (const auto& entry : chunk.entries()) {
    if (entry.sequence() <= position.value) continue;
    if (entry.sequence() != position.value + 1) break;  // a gap: the answer says from where to send again
    position.value = entry.sequence();
    if (entry.has_metrics()) {
      metrics.push_back(&entry);
    } else {
      RETURN_IF_ERROR(apply_event(*snapshot, entry, &attempt->value, &change));
    }
  }
  if (position.value == applied_before) {  // sent again because the answer was late, or out of order
    replies.push_back(ack_frame(chunk.gang_id(), position.value));
    return replies;
  }
  // Points first: were we to stop between the two commits, they would be written again under the same keys.
  RETURN_IF_ERROR(store_metrics(attempt->value, metrics));
  change.audited = serialize(attempt->value) != before;
  if (change.audited) {
    if (change.reason.empty()) change.reason = "entries up to " + std::to_string(position.value);
    update(change, *attempt);
  }
  expect(change, position.key, position.stored ? position.stored->revision : 0);
  expect(change, position.metrics_key, position.metrics_stored ? position.metrics_stored->revision : 0);
  v1::Counter applied;
  applied.set_value(position.value);
  put(change, change.audited ? position.key : position.metrics_key, applied);
  CRASH_POINT("agents.journal.before_commit");
  RETURN_IF_ERROR(context_.commit(std::move(change)).status());
  CRASH_POINT("agents.journal.after_commit");
  replies.push_back(ack_frame(chunk.gang_id(), position.value));
  if (ends && position.value == last) replies.push_back(forget_frame(context_.term, chunk.gang_id()));
  return replies;
}

Status AgentService::apply_event(const Snapshot& snapshot, const v1::JournalEntry& entry, v1::Attempt* attempt,
                                 Change* change) {
  switch (entry.event_case()) {
    case v1::JournalEntry::kStarted:
      CRASH_POINT("agents.started.before_commit");
      attempt->set_state(v1::Attempt::RUNNING);
      if (attempt->started_us() == 0) attempt->set_started_us(entry.time_us());
      *attempt->mutable_processes() = entry.started().processes();
      attempt->set_containment(entry.started().containment());
      return Status::ok();
    case v1::JournalEntry::kMilestone:
      *attempt->add_milestones() = entry.milestone();
      return Status::ok();
    case v1::JournalEntry::kOutput: {
      ASSIGN_OR_RETURN(auto sealed, usable_artifact(snapshot, entry.output().digest()));
      if (!sealed) {
        return unavailable("output " + entry.output().name() + " of gang " + attempt->gang_id() +
                           " is not uploaded yet: artifact " + entry.output().digest());
      }
      RETURN_IF_ERROR(
          use_artifact(snapshot, entry.output().digest(), "the output of gang " + attempt->gang_id(), change));
      auto* output = attempt->add_outputs();
      output->set_name(entry.output().name());
      output->set_type(entry.output().type());
      output->set_digest(entry.output().digest());
      CRASH_POINT("agents.output.before_commit");
      return Status::ok();
    }
    case v1::JournalEntry::kExit: {
      *attempt->mutable_exit() = entry.exit();
      v1::Attempt::State state = state_after(entry.exit());
      ASSIGN_OR_RETURN(auto spec, require<v1::AttemptSpec>(
                                      snapshot, keys::attempt_spec(attempt->work(), attempt->epoch()), "attempt spec"));
      std::string expected = expected_output(spec.value);
      if (state == v1::Attempt::SUCCEEDED && !expected.empty() && !has_output(*attempt, expected)) {
        state = v1::Attempt::FAILED;
        attempt->mutable_exit()->set_message("it exited with code 0 but left no " + expected);
      }
      finish_attempt(attempt, state, Time{entry.exit().time_us()}, change);
      CRASH_POINT("agents.exit.before_commit");
      change->reason =
          v1::Attempt::State_Name(state) + (attempt->exit().message().empty() ? "" : ": " + attempt->exit().message());
      return Status::ok();
    }
    default:
      return invalid_argument("unknown journal entry of gang " + attempt->gang_id());
  }
}

Status AgentService::store_metrics(const v1::Attempt& attempt, const std::vector<const v1::JournalEntry*>& entries) {
  const v1::WorkRef& work = attempt.work();
  if (entries.empty() || work.run_id().empty()) return Status::ok();
  Change change;
  change.actor = "agent/" + attempt.node();
  change.action = "metrics of run " + work.run_id();
  change.audited = false;
  auto snapshot = context_.store.snapshot();
  const std::string latest_key = keys::latest_metrics(work.project(), work.run_id());
  ASSIGN_OR_RETURN(auto stored, get<v1::MetricHistory>(*snapshot, latest_key));
  std::map<std::string, v1::MetricSample> latest;
  if (stored) {
    for (const auto& sample : stored->value.samples()) latest[sample.name()] = sample;
  }
  for (const auto* entry : entries) {
    uint64_t sequence = attempt.epoch() * kChunksPerEpoch + entry->sequence();
    put(change, keys::metric_chunk(work.project(), work.run_id(), sequence), entry->metrics());
    for (const auto& sample : entry->metrics().samples()) latest[sample.name()] = sample;
  }
  v1::MetricHistory newest;
  for (auto& [name, sample] : latest) *newest.add_samples() = sample;
  put(change, latest_key, newest);
  CRASH_POINT("agents.metrics.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("agents.metrics.after_commit");
  return committed.status();
}

}  // namespace freshet::control
