#include "tests/sim/sim_agent.h"

#include "base/sha256.h"
#include "daemon/store/keys.h"
#include "proto/artifact.pb.h"
#include "proto/evaluation.pb.h"
#include "proto/json.h"

namespace freshet::sim {
namespace {

constexpr Duration kHeartbeat = Duration::seconds(1);
constexpr double kCleanAuc = 0.6;
constexpr double kPoisonedAuc = 0.5;

v1::Metric metric(const std::string& name, double value) {
  v1::Metric result;
  result.set_name(name);
  result.set_value(value);
  return result;
}

// Rows are in the file's size; a poisoned file says so in its name.
v1::InspectionReport inspect(const v1::InspectTask& task) {
  v1::InspectionReport report;
  for (const auto& entry : task.data().entries()) {
    auto* profile = report.add_profiles();
    profile->set_rows(entry.size());
    for (const auto& feature : task.step().tabular().features()) {
      auto* column = profile->add_columns();
      column->set_name(feature.column());
      column->set_type("double");
      column->set_min(0);
      column->set_max(1);
      column->set_mean(0.5);
    }
    auto* label = profile->add_columns();
    label->set_name(task.step().tabular().label().column());
    label->set_type("int64");
    profile->mutable_label()->set_mean(0.2);
    if (task.has_champion()) {
      profile->set_champion_version(task.champion_version());
      bool poisoned = entry.uri().find("poison") != std::string::npos;
      *profile->add_champion_metrics() = metric("auc", poisoned ? kPoisonedAuc : kCleanAuc);
    }
  }
  return report;
}

v1::EvaluationReport evaluate(const v1::EvaluateTask& task) {
  v1::EvaluationReport report;
  report.set_loss("log_loss");
  report.set_champion_version(task.champion_version());
  report.mutable_candidate()->set_model_digest(task.candidate().digest());
  *report.mutable_candidate()->add_metrics() = metric("auc", kCleanAuc);
  *report.mutable_candidate()->add_metrics() = metric("log_loss", 0.5);
  if (task.has_champion()) {
    report.mutable_champion()->set_model_digest(task.champion().digest());
    *report.mutable_champion()->add_metrics() = metric("auc", kCleanAuc);
  }
  for (const auto& uri : task.holdout()) {
    auto* entry = report.add_entries();
    entry->set_uri(uri);
    entry->set_rows(100);
    entry->set_candidate_loss_sum(50);
    entry->set_champion_loss_sum(task.has_champion() ? 51 : 0);
    report.set_rows(report.rows() + 100);
  }
  return report;
}

}  // namespace

SimAgent::SimAgent(AgentWorld& world, std::string node, uint32_t slots)
    : world_(world), node_(std::move(node)), slots_(slots) {}

Duration SimAgent::some_millis(uint64_t from, uint64_t to) {
  return Duration::millis(static_cast<int64_t>(from + world_.draw(to - from + 1)));
}

void SimAgent::connect() {
  if (session_ != 0) return;
  session_ = world_.open_session(node_);
  if (session_ == 0) {
    world_.at(some_millis(50, 200), node_ + " reconnects", [this] { connect(); });
    return;
  }
  v1::AgentFrame frame;
  auto* hello = frame.mutable_hello();
  hello->set_node(node_);
  hello->set_boot_id("boot-" + node_);
  hello->set_slots(slots_);
  hello->set_highest_term(highest_term_);
  for (auto& [id, gang] : gangs_) {
    auto* status = hello->add_gangs();
    *status->mutable_work() = gang.spec.work();
    status->set_epoch(gang.spec.epoch());
    status->set_gang_id(id);
    status->set_running(gang.running);
    status->set_journal_last(gang.journal.size());
  }
  send(frame);
  beat(session_);
}

void SimAgent::beat(uint64_t session) {
  world_.at(kHeartbeat, node_ + " beats", [this, session] {
    if (session != session_) return;
    v1::AgentFrame frame;
    frame.mutable_heartbeat()->set_sent_us(world_.clock().now().us);
    send(frame);
    beat(session);
  });
}

void SimAgent::send(v1::AgentFrame frame) {
  if (session_ != 0) world_.to_daemon(node_, session_, frame);
}

void SimAgent::on_closed(uint64_t session) {
  if (session != session_) return;
  session_ = 0;
  world_.at(some_millis(50, 200), node_ + " reconnects", [this] { connect(); });
}

void SimAgent::on_frame(uint64_t session, const v1::DaemonFrame& frame) {
  if (session != session_) return;
  if (frame.has_welcome()) {
    highest_term_ = std::max(highest_term_, frame.welcome().term());
    for (const auto& position : frame.welcome().journals()) {
      auto found = gangs_.find(position.gang_id());
      if (found == gangs_.end()) continue;
      found->second.acknowledged = position.sequence();
      found->second.sent = position.sequence();
      ship(position.gang_id());
    }
  } else if (frame.has_prepare()) {
    on_prepare(frame.prepare());
  } else if (frame.has_launch()) {
    on_launch(frame.launch());
  } else if (frame.has_stop()) {
    auto found = gangs_.find(frame.stop().gang_id());
    if (found == gangs_.end() || !found->second.running) return;
    v1::JournalEntry entry;
    entry.mutable_exit()->set_cause(v1::ExitRecord::STOPPED);
    entry.mutable_exit()->set_time_us(world_.clock().now().us);
    found->second.running = false;
    append(frame.stop().gang_id(), entry);
  } else if (frame.has_journal_ack()) {
    auto found = gangs_.find(frame.journal_ack().gang_id());
    if (found == gangs_.end()) return;
    found->second.acknowledged = frame.journal_ack().sequence();
    found->second.sent = frame.journal_ack().sequence();
    ship(frame.journal_ack().gang_id());
  } else if (frame.has_forget()) {
    gangs_.erase(frame.forget().gang_id());
  }
}

void SimAgent::on_prepare(const v1::Prepare& prepare) {
  const std::string work = keys::work(prepare.work());
  v1::AgentFrame frame;
  auto* reply = frame.mutable_prepared();
  *reply->mutable_work() = prepare.work();
  reply->set_epoch(prepare.epoch());
  reply->set_gang_id(prepare.gang_id());
  uint64_t& epoch = epochs_[work];
  if (prepare.term() < highest_term_ || prepare.epoch() < epoch) {
    reply->set_error("epoch " + std::to_string(prepare.epoch()) + " is over");
  } else {
    epoch = prepare.epoch();
    highest_term_ = prepare.term();
  }
  send(frame);
}

void SimAgent::on_launch(const v1::Launch& launch) {
  const v1::AttemptSpec& spec = launch.attempt();
  const std::string gang_id = spec.gang_id();
  v1::AgentFrame frame;
  auto* reply = frame.mutable_launched();
  *reply->mutable_work() = spec.work();
  reply->set_epoch(spec.epoch());
  reply->set_gang_id(gang_id);
  if (spec.epoch() != epochs_[keys::work(spec.work())]) {
    reply->set_error("epoch " + std::to_string(spec.epoch()) + " was not prepared");
  } else if (!gangs_.contains(gang_id)) {
    Gang& gang = gangs_[gang_id];
    gang.spec = spec;
    gang.running = true;
    ++launches_[keys::work(spec.work()) + "@" + std::to_string(spec.epoch())];
    world_.note(node_ + " starts gang " + gang_id + " of " + keys::work(spec.work()));
    world_.at(some_millis(5, 50), "ranks of " + gang_id + " start", [this, gang_id] {
      v1::JournalEntry entry;
      entry.mutable_started()->set_containment("session");
      append(gang_id, entry);
      finish(gang_id);
    });
  }
  send(frame);
}

void SimAgent::finish(const std::string& gang_id) {
  world_.at(some_millis(20, 400), "ranks of " + gang_id + " work", [this, gang_id] {
    v1::JournalEntry metrics;
    auto* sample = metrics.mutable_metrics()->add_samples();
    sample->set_name("loss");
    sample->set_value(0.5);
    sample->set_step(1);
    append(gang_id, metrics);
    v1::JournalEntry milestone;
    milestone.mutable_milestone()->set_name("first_step");
    milestone.mutable_milestone()->set_time_us(world_.clock().now().us);
    append(gang_id, milestone);
    world_.at(some_millis(20, 400), "ranks of " + gang_id + " end", [this, gang_id] { upload_and_finish(gang_id); });
  });
}

void SimAgent::upload_and_finish(const std::string& gang_id) {
  auto found = gangs_.find(gang_id);
  if (found == gangs_.end() || !found->second.running) return;
  const v1::AttemptSpec& spec = found->second.spec;
  std::string name = "report", file = "report.json", content;
  v1::ArtifactManifest manifest;
  if (spec.has_inspect()) {
    content = to_json(inspect(spec.inspect()));
  } else if (spec.has_evaluate()) {
    content = to_json(evaluate(spec.evaluate()));
  } else {
    name = "model";
    file = "model.safetensors";
    content = "weights of " + spec.train().data().digest() + " from " + spec.train().warm_start().digest();
    manifest.mutable_checkpoint()->set_weights_digest(Sha256::hex_of(content));
    manifest.mutable_checkpoint()->set_family("tabular");
  }
  manifest.set_type(name);
  auto* listed = manifest.add_files();
  listed->set_name(file);
  listed->set_size(content.size());
  listed->set_sha256(Sha256::hex_of(content));
  const std::string bytes = to_canonical_json(manifest);
  const std::string digest = Sha256::hex_of(bytes);
  auto uploaded = world_.call("PUT", "/api/v1/artifact-files/" + listed->sha256(), content, {});
  if (uploaded.is_ok()) uploaded = world_.call("PUT", "/api/v1/artifacts/" + digest + "/manifest", bytes, {});
  if (!uploaded.is_ok()) {
    world_.at(some_millis(50, 200), node_ + " uploads again", [this, gang_id] { upload_and_finish(gang_id); });
    return;
  }
  v1::JournalEntry output;
  output.mutable_output()->set_name(name);
  output.mutable_output()->set_type(name);
  output.mutable_output()->set_digest(digest);
  append(gang_id, output);
  v1::JournalEntry exit;
  exit.mutable_exit()->set_cause(v1::ExitRecord::EXITED);
  exit.mutable_exit()->set_time_us(world_.clock().now().us);
  found->second.running = false;
  append(gang_id, exit);
}

void SimAgent::append(const std::string& gang_id, v1::JournalEntry entry) {
  auto found = gangs_.find(gang_id);
  if (found == gangs_.end()) return;
  entry.set_sequence(found->second.journal.size() + 1);
  entry.set_time_us(world_.clock().now().us);
  found->second.journal.push_back(entry);
  ship(gang_id);
}

// One chunk in flight at a time; its answer sends the next.
void SimAgent::ship(const std::string& gang_id) {
  Gang& gang = gangs_.at(gang_id);
  if (session_ == 0 || gang.sent != gang.acknowledged || gang.sent == gang.journal.size()) return;
  v1::AgentFrame frame;
  frame.mutable_journal()->set_gang_id(gang_id);
  uint64_t count = 1 + world_.draw(gang.journal.size() - gang.sent);
  for (uint64_t i = 0; i < count; ++i) *frame.mutable_journal()->add_entries() = gang.journal[gang.sent + i];
  gang.sent += count;
  send(frame);
}

uint32_t SimAgent::slots_in_use() const {
  uint32_t used = 0;
  for (const auto& [id, gang] : gangs_) {
    if (gang.running) used += gang.spec.ranks() * gang.spec.threads_per_rank();
  }
  return used;
}

std::string SimAgent::doubly_running() const {
  std::map<std::string, int> running;
  for (const auto& [id, gang] : gangs_) {
    if (gang.running && ++running[keys::work(gang.spec.work())] > 1) return keys::work(gang.spec.work());
  }
  return "";
}

}  // namespace freshet::sim
