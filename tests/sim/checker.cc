#include "tests/sim/checker.h"

#include "base/sha256.h"
#include "daemon/control/artifact_use.h"
#include "daemon/control/work.h"
#include "daemon/store/audit.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "scheduler/run_graph.h"

namespace freshet::sim {
namespace {

std::string kind_of(const std::string& key) { return key.substr(0, key.find('/')); }

template <class Message>
Message parsed(const std::string& payload) {
  Message message;
  CHECK(message.ParseFromString(payload));
  return message;
}

template <class Enum>
std::string moved(const std::string& what, Enum from, Enum to) {
  return what + " moved from state " + std::to_string(from) + " to " + std::to_string(to);
}

}  // namespace

std::string due_time(const v1::Run& run) {
  constexpr std::string_view kBefore = "due at ";
  const size_t at = run.cause().find(kBefore);
  return at == std::string::npos ? "" : run.cause().substr(at + kBefore.size(), to_iso8601(Time{}).size());
}

struct Checker::Batch {
  v1::LastCommit last;
  std::vector<std::pair<std::string, std::string>> audits;    // key, payload
  std::map<std::string, std::optional<std::string>> records;  // the rest: payloads
  std::map<std::string, v1::AuditRecord> audited;             // by key of a record: who changed it
  bool has_artifacts = false;
  std::set<std::string> runs, attempts, inspections, triggers, aliases, moved, versions;  // keys touched
};

Checker::Checker(SimWorld& world) : world_(world) {
  world.disk().on_batch([this](const std::vector<KvWrite>& writes) {
    if (broken_.empty()) on_batch(writes);
  });
}

void Checker::on_batch(const std::vector<KvWrite>& writes) {
  ++batches_;
  Batch batch;
  for (const KvWrite& write : writes) {
    std::optional<std::string> payload;
    if (write.value) payload = std::move(*parsed<v1::StoredRecord>(*write.value).mutable_payload());
    if (write.key == keys::last_commit()) {
      batch.last = parsed<v1::LastCommit>(*payload);
    } else if (write.key.starts_with("audit/")) {
      batch.audits.emplace_back(write.key, std::move(*payload));
    } else {
      batch.records[write.key] = std::move(payload);
    }
  }
  check_log(batch);
  for (const auto& [key, payload] : batch.records) take(kind_of(key), key, payload, &batch);
  check_touched(batch);
}

// I2, I11: revisions and commit times grow; the chain of audit records goes on and holds each change once.
void Checker::check_log(const Batch& batch) {
  if (batch.last.revision() <= revision_ || batch.last.commit_us() <= commit_us_) {
    fail("I2: revision " + std::to_string(batch.last.revision()) + " after " + std::to_string(revision_));
  }
  std::map<std::string, std::optional<std::string>> told;
  for (const auto& [key, payload] : batch.audits) {
    const auto record = parsed<v1::AuditRecord>(payload);
    if (record.previous_digest() != audit_digest_ || keys::audit(record.revision()) != key ||
        record.revision() <= revision_ || record.revision() > batch.last.revision()) {
      fail("I11: the audit record " + key + " does not continue the chain");
    }
    audit_digest_ = Sha256::hex_of(payload);
    for (const auto& change : record.changes()) {
      told[change.key()] = change.deleted() ? std::nullopt : std::optional(change.value());
    }
  }
  if (batch.last.audit_digest() != audit_digest_) fail("I11: the last commit names another audit record");
  revision_ = batch.last.revision();
  commit_us_ = batch.last.commit_us();
  for (const auto& [key, payload] : batch.records) {
    auto found = told.find(key);
    const bool audited = found != told.end();
    if (audited && found->second != payload) fail("I11: the audit log tells " + key + " otherwise than it is stored");
    auto [known, is_new] = audited_.try_emplace(key, audited);
    if (!is_new && known->second != audited) {
      fail("I14: " + key + " is written by audited and by unaudited changes, so a replay can't give its value");
    }
    if (audited) told.erase(found);
  }
  if (!told.empty()) fail("I11: the audit log tells of " + told.begin()->first + ", which the batch does not write");
}

void Checker::take(const std::string& kind, const std::string& key, const std::optional<std::string>& payload,
                   Batch* batch) {
  auto index = [&](std::set<std::string>* targets, std::set<std::string>* touched, const std::string& target) {
    if (payload) {
      targets->insert(target);
    } else {
      targets->erase(target);
    }
    touched->insert(target);
  };
  const std::string rest = key.substr(std::min(key.size(), kind.size() + 1));
  if (recount_.take(key, payload, &batch->runs)) return;
  if (kind == "active_attempt") return index(&active_attempts_, &batch->attempts, "attempt/" + rest);
  if (kind == "pending_inspection") return index(&pending_inspections_, &batch->inspections, "inspection/" + rest);
  if (!payload && kind == "outbox") {
    const std::string id = events_.at(key);
    if (!first_event_.empty() && key > first_event_ && !world_.told().contains(id) && !dead_.contains(id)) {
      fail("I1: " + key + " was forgotten before anybody was told");
    }
    return;
  }
  if (kind == "artifact" || kind == "collected_artifact") {
    auto* digests = kind == "artifact" ? &artifacts_ : &collected_;
    batch->has_artifacts = true;
    const bool is_there = payload && (kind != "artifact" || control::is_usable(parsed<v1::ArtifactRecord>(*payload)));
    if (is_there) {
      digests->insert(rest);
    } else {
      digests->erase(rest);
    }
    return;
  }
  if (!payload) {
    static const std::set<std::string> kForEver = {"run", "attempt", "model_version", "alias_move", "alias", "model"};
    if (kForEver.contains(kind)) fail("I8: " + key + " was deleted");
    return;
  }
  if (kind == "run") {
    take_run(key, *payload);
    batch->runs.insert(key);
  } else if (kind == "attempt") {
    take_attempt(key, *payload);
    batch->attempts.insert(key);
  } else if (kind == "attempt_spec") {
    needs_["attempt/" + rest] = control::artifacts_of(parsed<v1::AttemptSpec>(*payload));
  } else if (kind == "inspection") {
    inspections_[key] = parsed<v1::Inspection>(*payload);
    batch->inspections.insert(key);
  } else if (kind == "entry") {
    entries_[key] = parsed<v1::EntryRecord>(*payload);
  } else if (kind == "trigger_state") {
    auto state = parsed<v1::TriggerState>(*payload);
    auto& before = triggers_[key];
    if (state.last_due_us() < before.last_due_us()) {
      // A clock that was set back by more than a day makes due times count again; nothing else does.
      if (Time{before.last_due_us()} - Time{state.last_due_us()} <= Duration::seconds(24 * 3600)) {
        fail("I9: " + key + " goes back to " + to_iso8601(Time{state.last_due_us()}) + " from " +
             to_iso8601(Time{before.last_due_us()}));
      }
      auto& fired = fired_due_times_[key];
      fired.erase(fired.upper_bound(to_iso8601(Time{state.last_due_us()})), fired.end());
    }
    if (state.fired() < before.fired() || state.entries_consumed() < before.entries_consumed()) {
      fail("I9: " + key + " has un-fired");
    }
    before = std::move(state);
    batch->triggers.insert(key);
  } else if (kind == "dataset") {
    datasets_[key] = parsed<v1::DatasetVersion>(*payload);
  } else if (kind == "model_version") {
    take_version(key, *payload);
    batch->versions.insert(key);
  } else if (kind == "alias") {
    take_alias(key, *payload);
    batch->aliases.insert(key);
  } else if (kind == "alias_move") {
    moves_.push_back(parsed<v1::AliasMove>(*payload));
    batch->moved.insert(
        keys::alias(moves_.back().alias().project(), moves_.back().alias().model(), moves_.back().alias().alias()));
  } else if (kind == "node") {
    auto node = parsed<v1::NodeRecord>(*payload);
    slots_[node.name()] = node.slots();
    const bool dead = node.liveness() == v1::NodeRecord::DEAD;
    const Duration silent = world_.clock().monotonic() - world_.last_heard(node.name());
    if (dead && !dead_nodes_.contains(node.name()) && silent < Duration::millis(world_.lease_ms())) {
      fail("I3: node " + node.name() + " was given up within its lease, after " + std::to_string(silent.us / 1000) +
           " ms");
    }
    if (dead) {
      dead_nodes_.insert(node.name());
    } else {
      dead_nodes_.erase(node.name());
    }
  } else if (kind == "gang") {
    if (!gangs_.emplace(rest, *payload).second) fail("I2: gang id " + rest + " was used twice");
  } else if (kind == "journal_position" || kind == "metrics_position") {
    const uint64_t position = parsed<v1::Counter>(*payload).value();
    if (position <= positions_[rest]) fail("I2: the journal of gang " + rest + " did not go forward");
    positions_[rest] = position;
  } else if (kind == "kept_answer") {
    if (!answers_.insert(rest).second) fail("I1: idempotency key " + rest + " was answered twice");
  } else if (kind == "outbox") {
    events_[key] = parsed<v1::Event>(*payload).id();
  } else if (kind == "webhook_state") {
    if (first_event_.empty()) first_event_ = parsed<v1::WebhookState>(*payload).cursor();
  } else if (kind == "dead_letter") {
    const auto letter = parsed<v1::DeadLetter>(*payload);
    if (letter.webhook() == "watcher") dead_.insert(letter.event().id());  // the impatient one may give up
  } else if (kind == "daemon") {
    const uint64_t term = parsed<v1::DaemonTerm>(*payload).term();
    if (term <= term_) fail("I2: term " + std::to_string(term) + " after " + std::to_string(term_));
    term_ = term;
  }
}

void Checker::take_run(const std::string& key, const std::string& payload) {
  auto run = parsed<v1::Run>(payload);
  auto found = runs_.find(key);
  if (found == runs_.end()) {
    if (run.state() != v1::Run::QUEUED) fail("I5: run " + run.id() + " did not start as QUEUED");
    if (!run.trigger().empty()) {
      const std::string trigger = keys::trigger_state(run.project(), run.trigger());
      ++runs_of_trigger_[trigger];
      const std::string due = due_time(run);
      if (!due.empty() && !fired_due_times_[trigger].insert(due).second) fail("I9: fired twice: " + run.cause());
    }
    for (const auto& input : run.inputs()) {
      // The dataset may be in the same batch: it comes before the run in the order of keys.
      if (!datasets_.contains(keys::dataset(run.project(), input.dataset_digest()))) {
        fail("I1: run " + run.id() + " has a dataset that is not stored");
      }
    }
  } else {
    const v1::Run& before = found->second;
    if (run.state() != before.state() && !scheduler::may_move(before.state(), run.state())) {
      fail("I5: " + moved("run " + run.id(), before.state(), run.state()));
    }
    for (int i = 0; i < run.steps_size(); ++i) {
      const v1::StepStatus &old = before.steps(i), &now = run.steps(i);
      if (now.epoch() < old.epoch()) fail("I2: the epoch of step " + now.name() + " of run " + run.id() + " went back");
      // After the champion has changed the evaluation is made again, and promotion waits for it again.
      const bool again = (old.state() == v1::StepStatus::SUCCEEDED && now.state() == v1::StepStatus::READY) ||
                         (old.state() == v1::StepStatus::READY && now.state() == v1::StepStatus::WAITING);
      // Several moves may be one commit; skipping WAITING for READY is one.
      const bool jumped = old.state() == v1::StepStatus::WAITING && now.state() != v1::StepStatus::RUNNING;
      if (now.state() != old.state() && !again && !jumped && !scheduler::may_move(old.state(), now.state())) {
        fail("I5: " + moved("step " + now.name() + " of run " + run.id(), old.state(), now.state()));
      }
    }
  }
  if (scheduler::is_final(run.state())) {
    active_runs_.erase(key);
  } else {
    active_runs_.insert(key);
  }
  runs_[key] = std::move(run);
}

void Checker::take_attempt(const std::string& key, const std::string& payload) {
  auto attempt = parsed<v1::Attempt>(payload);
  auto ended = final_attempts_.find(key);
  if (ended != final_attempts_.end()) {
    if (ended->second != payload) fail("I4: the attempt " + key + " changed after its end");
    return;
  }
  const std::string work = keys::work(attempt.work());
  auto found = attempts_.find(key);
  if (found == attempts_.end()) {
    if (attempt.epoch() != newest_epoch_[work] + 1)
      fail("I2: epoch " + std::to_string(attempt.epoch()) + " of " + work);
    newest_epoch_[work] = attempt.epoch();
    if (attempt.term() != term_) fail("I2: an attempt of term " + std::to_string(attempt.term()) + " was placed");
  } else if (found->second.state() != attempt.state() && !scheduler::may_move(found->second.state(), attempt.state()) &&
             attempt.state() != v1::Attempt::SUCCEEDED) {
    // A whole journal may be one commit, so that the start was never stored.
    fail("I5: " + moved("attempt " + key, found->second.state(), attempt.state()));
  }
  std::set<std::string> outputs;  // a simulated gang has one of each
  for (const auto& output : attempt.outputs()) outputs.insert(output.name());
  if (static_cast<size_t>(attempt.outputs_size()) > outputs.size() || attempt.milestones_size() > 1) {
    fail("I4: the journal of attempt " + key + " was applied twice");
  }
  if (scheduler::is_final(attempt.state())) final_attempts_[key] = payload;
  attempts_[key] = std::move(attempt);
}

void Checker::take_version(const std::string& key, const std::string& payload) {
  auto version = parsed<v1::ModelVersion>(payload);
  if (!versions_.emplace(key, version).second) fail("I8: " + key + " was written twice");
  if (version.version() != ++newest_version_[version.model()]) fail("I8: versions are not dense: " + key);
  if (!world_.artifacts().exists(version.artifact_digest())) fail("I7: the artifact of " + key + " is missing");
}

void Checker::take_alias(const std::string& key, const std::string& payload) {
  auto alias = parsed<v1::Alias>(payload);
  const uint64_t before = aliases_.contains(key) ? aliases_.at(key).version() : 0;
  if (alias.previous_version() != before) {
    fail("I7: " + key + " moved from version " + std::to_string(alias.previous_version()) + ", but it was at " +
         std::to_string(before));
  }
  aliases_[key] = std::move(alias);
}

// What must hold between records, after the whole batch.
void Checker::check_touched(const Batch& batch) {
  if (std::string wrong = recount_.difference(batch.runs, runs_); !wrong.empty()) fail(wrong);
  for (const auto& key : batch.inspections) {
    auto found = inspections_.find(key);
    const bool pending = found != inspections_.end() && (found->second.state() == v1::Inspection::PENDING ||
                                                         found->second.state() == v1::Inspection::RUNNING);
    if (pending != pending_inspections_.contains(key)) fail("I5: the index of inspections is wrong about " + key);
  }
  for (const auto& key : batch.attempts) {
    auto found = attempts_.find(key);
    const bool active = found != attempts_.end() && !scheduler::is_final(found->second.state());
    if (active != active_attempts_.contains(key)) fail("I5: the index of active attempts is wrong about " + key);
  }
  if (!batch.attempts.empty()) {
    std::set<std::string> works;
    std::map<std::string, uint32_t> used;
    for (const auto& key : active_attempts_) {
      const v1::Attempt& attempt = attempts_.at(key);
      if (!works.insert(keys::work(attempt.work())).second)
        fail("I3: two live epochs of " + keys::work(attempt.work()));
      if ((used[attempt.node()] += attempt.slots()) > slots_[attempt.node()]) {
        fail("I6: node " + attempt.node() + " is given more than its slots");
      }
    }
  }
  if (!batch.triggers.empty() || !batch.runs.empty()) {
    for (const auto& [key, count] : runs_of_trigger_) {
      if (triggers_[key].fired() != count) {
        fail("I9: " + key + " has fired " + std::to_string(triggers_[key].fired()) + " times, but has " +
             std::to_string(count) + " runs");
      }
    }
    for (const auto& key : batch.triggers) {
      if (triggers_[key].fired() != runs_of_trigger_[key]) fail("I9: " + key + " has fired without a run");
    }
  }
  for (const auto& key : batch.versions) {
    const v1::ModelVersion& version = versions_.at(key);
    auto run = runs_.find(keys::run(version.project(), version.run_id()));
    if (run == runs_.end() ||
        run->second.model_version() != control::version_name(version.model(), version.version())) {
      fail("I8: " + key + " and its run do not name each other");
    }
    if (run != runs_.end() && !run->second.replay_of().empty()) fail("I15: a replay has registered " + key);
    auto pins = world_.artifacts().pins(version.artifact_digest());
    if (!pins.is_ok() || pins->empty()) fail("I7: the artifact of " + key + " is not pinned");
  }
  for (const auto& key : batch.aliases) {
    const v1::Alias& alias = aliases_.at(key);
    auto version = versions_.find(keys::model_version(alias.project(), alias.model(), alias.version()));
    if (version == versions_.end()) fail("I7: " + key + " points nowhere");
    if (!batch.moved.contains(key)) fail("I7: " + key + " moved without a record of it");
  }
  if (batch.has_artifacts || !batch.aliases.empty() || !batch.versions.empty() || !batch.runs.empty() ||
      !batch.attempts.empty()) {
    check_artifacts();
  }
}

// I7: what an alias is at or would roll back to, each model's newest version with its initial weights, and all that
// live work has and needs may be used and is there.
void Checker::check_artifacts() {
  for (const auto& [key, alias] : aliases_) {
    for (uint64_t number : {alias.version(), alias.previous_version()}) {
      auto version = versions_.find(keys::model_version(alias.project(), alias.model(), number));
      if (version != versions_.end()) check_artifact(version->second.artifact_digest(), key);
    }
  }
  for (const auto& [model, number] : newest_version_) {
    auto version = versions_.find(keys::model_version("default", model, number));
    if (version == versions_.end()) continue;
    check_artifact(version->second.artifact_digest(), version->first);
    auto run = runs_.find(keys::run(version->second.project(), version->second.run_id()));
    if (run != runs_.end()) check_artifact(run->second.warm_start_model(), version->first);
  }
  for (const auto& key : active_runs_) {
    const v1::Run& run = runs_.at(key);
    check_artifact(run.warm_start_model(), key);
    for (const auto& step : run.steps()) {
      for (const auto& output : step.outputs()) check_artifact(output.digest(), key);
    }
  }
  for (const auto& key : active_attempts_) {
    for (const auto& output : attempts_.at(key).outputs()) check_artifact(output.digest(), key);
    for (const auto& digest : needs_[key]) check_artifact(digest, key);
  }
}

void Checker::check_artifact(const std::string& digest, const std::string& by) {
  if (digest.empty()) return;
  if (!artifacts_.contains(digest)) fail("I7: artifact " + digest + " is collected, but " + by + " has it");
  if (!world_.artifacts().exists(digest)) fail("I7: artifact " + digest + " of " + by + " is gone");
}

void Checker::on_launched(const v1::AttemptSpec& spec) {
  const std::string name = keys::work(spec.work()) + " epoch " + std::to_string(spec.epoch());
  if (++launches_[name] > 1) fail("I3: " + name + " was started twice");
  if (!attempts_.contains(keys::attempt(spec.work(), spec.epoch())))
    fail("I3: " + name + " was started but not stored");
  for (const auto& [node, agent] : world_.agents()) {
    if (!agent->doubly_running().empty()) fail("I3: two gangs of " + agent->doubly_running() + " run on " + node);
  }
}

void Checker::on_acknowledged(const std::string& gang_id, uint64_t sequence) {
  auto gang = gangs_.find(gang_id);
  if (gang == gangs_.end()) return;
  auto reference = attempts_.find(gang->second);
  if (reference == attempts_.end() || scheduler::is_final(reference->second.state())) return;
  if (positions_[gang_id] < sequence)
    fail("I1: the journal of gang " + gang_id + " was acknowledged but is not stored");
}

void Checker::on_forgotten(const v1::AttemptSpec& spec) {
  auto attempt = attempts_.find(keys::attempt(spec.work(), spec.epoch()));
  if (attempt != attempts_.end() && !scheduler::is_final(attempt->second.state())) {
    fail("I1: gang " + spec.gang_id() + " was forgotten before its end was stored");
  }
}

void Checker::check_all() {
  auto snapshot = world_.store().snapshot();
  Status audit = verify_audit(*snapshot);
  if (!audit.is_ok()) return fail("I11: " + audit.message());
  auto replayed = replay_audit(*snapshot);
  if (!replayed.is_ok()) return fail("I14: " + replayed.status().message());
  auto stored = snapshot->scan("");
  if (!stored.is_ok()) return fail(stored.status().message());
  size_t found = 0;
  for (const auto& item : *stored) {
    if (keys::is_reserved(item.key)) continue;
    auto known = audited_.find(item.key);
    if (known == audited_.end()) return fail("I11: " + item.key + " was never written");
    if (!known->second) continue;
    ++found;
    auto same = replayed->find(item.key);
    if (same == replayed->end() || same->second.payload != item.value.payload) {
      return fail("I14: replaying the audit log gives another " + item.key);
    }
  }
  if (found != replayed->size()) fail("I14: replaying the audit log gives records that are not stored");
  for (const auto& [key, version] : versions_) {
    if (collected_.contains(version.artifact_digest())) continue;
    if (!world_.artifacts().exists(version.artifact_digest())) fail("I7: the artifact of " + key + " is gone");
  }
}

}  // namespace freshet::sim
