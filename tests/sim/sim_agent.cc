#include "tests/sim/sim_agent.h"

#include <algorithm>

#include "daemon/store/keys.h"

namespace freshet::sim {
namespace {

constexpr Duration kResendAfter = Duration::seconds(5);
constexpr size_t kStages = 4;  // started, worked, output, exit

}  // namespace

SimAgent::SimAgent(AgentWorld& world, std::string node, uint32_t slots)
    : world_(world), node_(std::move(node)), slots_(slots) {}

Duration SimAgent::some_millis(uint64_t from, uint64_t to) {
  return Duration::millis(static_cast<int64_t>(from + world_.draw(to - from + 1)));
}

// ---- its process and its machine ----

void SimAgent::start() {
  if (up_) return;
  up_ = true;
  ++life_;
  term_ = 0;
  for (auto item = gangs_.begin(); item != gangs_.end();) {
    Gang& gang = item->second;
    gang.acknowledged = gang.sent = 0;
    gang.forget = false;
    if (!gang.launched) {
      item = gangs_.erase(item);  // half made: nothing has run in it
      continue;
    }
    const std::string id = item->first;
    ++item;
    if (!gang.running && (gang.journal.empty() || !gang.journal.back().has_exit())) {
      v1::ExitRecord lost;
      lost.set_cause(v1::ExitRecord::LOST);
      lost.set_message("supervisor died: cause unknown");
      end(id, lost);
    }
  }
  connect();
}

void SimAgent::crash() {
  up_ = paused_ = welcomed_ = closed_waiting_ = false;
  session_ = 0;
  waiting_.clear();
  if (world_.traces()) world_.note(node_ + "'s agent is gone");
}

void SimAgent::pause() {
  paused_ = true;
  if (world_.traces()) world_.note(node_ + "'s agent is stopped");
}

void SimAgent::resume() {
  if (!paused_) return;
  paused_ = false;
  if (world_.traces()) world_.note(node_ + "'s agent goes on");
  auto frames = std::move(waiting_);
  waiting_.clear();
  for (const auto& [session, frame] : frames) on_frame(session, frame);
  if (std::exchange(closed_waiting_, false)) on_closed(session_);
}

void SimAgent::reboot(bool loses_disk) {
  crash();
  ++boot_;
  for (auto& [id, gang] : gangs_) gang.running = false;
  if (!loses_disk) return;
  gangs_.clear();
  epochs_.clear();
  highest_term_ = 0;
}

// ---- the connection ----

void SimAgent::retry_connect() {
  world_.at(some_millis(100, 2000), nullptr, [this, life = life_] {
    if (up_ && life == life_) connect();
  });
}

void SimAgent::connect() {
  if (session_ != 0) return;
  if (paused_) {
    retry_connect();
    return;
  }
  session_ = world_.open_session(node_);
  if (session_ == 0) {
    retry_connect();
    return;
  }
  welcomed_ = false;
  v1::AgentFrame frame;
  auto* hello = frame.mutable_hello();
  hello->set_node(node_);
  hello->set_boot_id("boot-" + std::to_string(boot_) + "-" + node_);
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
  world_.at(heartbeat_, nullptr, [this, session] {
    if (session != session_) return;
    if (!paused_ && welcomed_) {
      v1::AgentFrame frame;
      frame.mutable_heartbeat()->set_sent_us(world_.clock().now().us);
      send(frame);
    }
    beat(session);
  });
}

void SimAgent::send(const v1::AgentFrame& frame) {
  if (session_ != 0) world_.to_daemon(node_, session_, frame);
}

void SimAgent::on_closed(uint64_t session) {
  if (session != session_ || session_ == 0) return;
  if (paused_) {
    closed_waiting_ = true;
    return;
  }
  session_ = 0;
  retry_connect();
}

void SimAgent::on_frame(uint64_t session, const v1::DaemonFrame& frame) {
  if (session != session_ || !up_) return;
  if (paused_) {
    waiting_.emplace_back(session, frame);
  } else {
    handle(frame);
  }
}

Status SimAgent::check_term(uint64_t term) const { return term == term_ ? Status::ok() : conflict("another term"); }

void SimAgent::handle(const v1::DaemonFrame& frame) {
  if (frame.has_welcome()) {
    on_welcome(frame.welcome());
    return;
  }
  if (!welcomed_) {
    world_.close_session(node_);  // the daemon's first frame is no welcome
    return;
  }
  if (frame.has_prepare()) {
    on_prepare(frame.prepare());
  } else if (frame.has_launch()) {
    on_launch(frame.launch());
  } else if (frame.has_stop()) {
    if (check_term(frame.stop().term()).is_ok()) stop(frame.stop().gang_id());
  } else if (frame.has_journal_ack()) {
    acknowledge(frame.journal_ack().gang_id(), frame.journal_ack().sequence());
  } else if (frame.has_forget()) {
    if (check_term(frame.forget().term()).is_ok()) forget(frame.forget().gang_id());
  }
}

void SimAgent::on_welcome(const v1::Welcome& welcome) {
  if (welcome.term() < highest_term_) {
    world_.close_session(node_);
    return;
  }
  welcomed_ = true;
  term_ = highest_term_ = welcome.term();
  heartbeat_ = Duration::millis(welcome.heartbeat_ms());
  std::map<std::string, uint64_t> positions;
  for (const auto& position : welcome.journals()) positions[position.gang_id()] = position.sequence();
  std::vector<std::string> ids;
  for (auto& [id, gang] : gangs_) {
    gang.acknowledged = gang.sent = positions[id];
    ids.push_back(id);
  }
  for (const auto& id : ids) {
    if (gangs_.contains(id)) ship(id);  // an upload lets other frames in, which may say to forget another
  }
}

// ---- epochs and gangs ----

void SimAgent::on_prepare(const v1::Prepare& prepare) {
  const std::string work = keys::work(prepare.work());
  v1::AgentFrame frame;
  auto* reply = frame.mutable_prepared();
  *reply->mutable_work() = prepare.work();
  reply->set_epoch(prepare.epoch());
  reply->set_gang_id(prepare.gang_id());
  auto& promised = epochs_[work];
  const bool same = promised == std::pair(prepare.epoch(), prepare.gang_id());
  if (!check_term(prepare.term()).is_ok() || (!same && prepare.epoch() <= promised.first)) {
    reply->set_error("epoch " + std::to_string(prepare.epoch()) + " is over");
  } else {
    promised = {prepare.epoch(), prepare.gang_id()};
    // Two epochs of the same work never run side by side.
    std::vector<std::string> older;
    for (auto& [id, gang] : gangs_) {
      if (keys::work(gang.spec.work()) == work && gang.spec.epoch() < prepare.epoch()) older.push_back(id);
    }
    for (const auto& id : older) stop(id);
  }
  send(frame);
}

void SimAgent::on_launch(const v1::Launch& launch_frame) {
  const v1::AttemptSpec& spec = launch_frame.attempt();
  const auto promised = epochs_.find(keys::work(spec.work()));
  v1::AgentFrame frame;
  auto* reply = frame.mutable_launched();
  *reply->mutable_work() = spec.work();
  reply->set_epoch(spec.epoch());
  reply->set_gang_id(spec.gang_id());
  if (!check_term(launch_frame.term()).is_ok() || promised == epochs_.end() ||
      promised->second != std::pair(spec.epoch(), spec.gang_id())) {
    reply->set_error("epoch " + std::to_string(spec.epoch()) + " was not prepared");
    send(frame);
    return;
  }
  auto [item, is_new] = gangs_.try_emplace(spec.gang_id());
  if (!is_new) {
    if (item->second.launched) send(frame);
    return;
  }
  Gang& gang = item->second;
  gang.spec = spec;
  gang.fate = world_.gang_watcher().fate(spec);
  // It fetches what the gang needs, and starts the supervisor.
  world_.at(gang.fate.launch, nullptr, [this, life = life_, launch_frame] {
    if (up_ && life == life_) launch(launch_frame);
  });
}

void SimAgent::launch(const v1::Launch& launch_frame) {
  const v1::AttemptSpec& spec = launch_frame.attempt();
  const std::string id = spec.gang_id();
  auto found = gangs_.find(id);
  if (found == gangs_.end() || found->second.launched || found->second.forget) {
    if (found != gangs_.end() && !found->second.launched) gangs_.erase(found);
    return;
  }
  if (paused_) {  // its thread is stopped too
    world_.at(Duration::seconds(1), nullptr, [this, life = life_, launch_frame] {
      if (up_ && life == life_) launch(launch_frame);
    });
    return;
  }
  v1::AgentFrame frame;
  auto* reply = frame.mutable_launched();
  *reply->mutable_work() = spec.work();
  reply->set_epoch(spec.epoch());
  reply->set_gang_id(id);
  Gang& gang = found->second;
  if (gang.fate.kind == GangFate::kCannotStart) {
    reply->set_error("the program is not there");
    v1::ExitRecord exit;
    exit.set_cause(v1::ExitRecord::START_FAILED);
    world_.gang_watcher().on_exit(spec, exit);
    gangs_.erase(found);
    send(frame);
    return;
  }
  gang.launched = gang.running = true;
  ++launches_[keys::work(spec.work()) + "@" + std::to_string(spec.epoch())];
  if (world_.traces()) {
    world_.note(node_ + " starts gang " + id + " of " + keys::work(spec.work()) + " epoch " +
                std::to_string(spec.epoch()));
  }
  world_.gang_watcher().on_launched(spec);
  world_.at(gang.fate.start, nullptr, [this, id, boot = boot_] {
    if (boot == boot_) work(id, 0);
  });
  send(frame);
}

// What the supervisor and the ranks do, stage by stage, whether or not there is an agent.
void SimAgent::work(const std::string& id, size_t stage) {
  auto found = gangs_.find(id);
  if (found == gangs_.end() || !found->second.running) return;
  Gang& gang = found->second;
  const GangFate fate = gang.fate;
  v1::JournalEntry entry;
  Duration next = Duration::micros(fate.work.us / static_cast<int64_t>(kStages));
  if (stage == 0) {
    entry.mutable_started()->set_containment("session");
    append(id, entry);
  } else if (stage == 1) {
    auto* sample = entry.mutable_metrics()->add_samples();
    sample->set_name("loss");
    sample->set_value(0.5);
    sample->set_step(1);
    append(id, entry);
    entry.Clear();
    entry.mutable_milestone()->set_name("first_step");
    entry.mutable_milestone()->set_time_us(world_.clock().now().us);
    append(id, entry);
    if (fate.kind == GangFate::kHangs) next = Duration::seconds(gang.spec.timeout_s());
  } else if (fate.kind == GangFate::kHangs) {
    v1::ExitRecord exit;
    exit.set_cause(v1::ExitRecord::TIMED_OUT);
    end(id, exit);
    return;
  } else if (stage == 2) {
    if (fate.kind == GangFate::kSupervisorDies) {
      v1::ExitRecord lost;
      lost.set_cause(v1::ExitRecord::LOST);
      lost.set_message("supervisor died: cause unknown");
      gang.running = false;
      if (up_) end(id, lost);  // else the next agent records it
      return;
    }
    if (fate.kind == GangFate::kFails) {
      end(id, fate.exit);
      return;
    }
    if (fate.kind == GangFate::kSucceeds) hand_in(id, fate);
  } else {
    v1::ExitRecord exit;
    exit.set_cause(v1::ExitRecord::EXITED);
    end(id, exit);
    return;
  }
  world_.at(next, nullptr, [this, id, stage, boot = boot_] {
    if (boot == boot_) work(id, stage + 1);
  });
}

// While one output is sent anything may happen to the gang.
void SimAgent::hand_in(const std::string& id, const GangFate& fate) {
  const v1::AttemptSpec spec = gangs_.at(id).spec;
  for (GangOutput& output : make_outputs(spec, fate)) {
    auto gang = gangs_.find(id);
    if (gang == gangs_.end() || !gang->second.running) return;
    if (spec.has_evaluate()) world_.gang_watcher().on_report(spec, output.digest, fate);
    if (spec.has_replay() && output.type == "report") {
      world_.gang_watcher().on_replay(spec, output.digest, fate, make_replay_report(spec, fate));
    }
    v1::JournalEntry entry;
    entry.mutable_output()->set_name(output.type);
    entry.mutable_output()->set_type(output.type);
    entry.mutable_output()->set_digest(output.digest);
    gang->second.outputs[output.digest] = std::move(output);
    append(id, entry);
  }
}

void SimAgent::stop(const std::string& id) {
  auto found = gangs_.find(id);
  if (found == gangs_.end() || (found->second.launched && !found->second.running)) return;
  if (!found->second.launched) {
    found->second.forget = true;  // its supervisor hears of it before it starts anything
    return;
  }
  v1::ExitRecord exit;
  exit.set_cause(v1::ExitRecord::STOPPED);
  end(id, exit);
}

void SimAgent::end(const std::string& id, v1::ExitRecord exit) {
  Gang& gang = gangs_.at(id);
  gang.running = false;
  exit.set_time_us(world_.clock().now().us);
  world_.gang_watcher().on_exit(gang.spec, exit);
  v1::JournalEntry entry;
  *entry.mutable_exit() = exit;
  append(id, entry);
}

void SimAgent::forget(const std::string& id) {
  auto found = gangs_.find(id);
  if (found == gangs_.end()) return;
  auto& promised = epochs_[keys::work(found->second.spec.work())];
  if (promised.second == id) promised.second.clear();
  if (found->second.running) stop(id);
  if (!found->second.launched) {
    found->second.forget = true;
    return;
  }
  world_.gang_watcher().on_forgotten(found->second.spec);
  gangs_.erase(found);
}

// ---- journals ----

void SimAgent::append(const std::string& id, v1::JournalEntry entry) {
  Gang& gang = gangs_.at(id);
  entry.set_sequence(gang.journal.size() + 1);
  entry.set_time_us(world_.clock().now().us);
  gang.journal.push_back(std::move(entry));
  ship(id);
}

void SimAgent::acknowledge(const std::string& id, uint64_t sequence) {
  world_.gang_watcher().on_acknowledged(id, sequence);
  auto found = gangs_.find(id);
  if (found == gangs_.end()) return;
  Gang& gang = found->second;
  gang.acknowledged = std::max(gang.acknowledged, sequence);
  gang.sent = std::max(gang.sent, gang.acknowledged);
  gang.progress = world_.clock().monotonic();
  ship(id);
}

void SimAgent::ship_later(const std::string& id, Duration after) {
  Gang& gang = gangs_.at(id);
  if (gang.ships) return;
  gang.ships = true;
  world_.at(after, nullptr, [this, id] {
    auto found = gangs_.find(id);
    if (found == gangs_.end()) return;
    found->second.ships = false;
    ship(id);
  });
}

bool SimAgent::upload(const std::string& id, const v1::JournalEntry& entry) {
  Gang& gang = gangs_.at(id);
  const GangOutput output = gang.outputs.at(entry.output().digest());
  gang.uploads = true;
  auto answer = world_.upload(node_, "/api/v1/artifact-files/" + output.content_sha256, output.content);
  if (answer.is_ok()) {
    answer = world_.upload(node_, "/api/v1/artifacts/" + output.digest + "/manifest", output.manifest);
  }
  // The gang may be gone: other things happen while it uploads.
  if (auto found = gangs_.find(id); found != gangs_.end()) found->second.uploads = false;
  return answer.is_ok();
}

// Some entries at a time; what is not acknowledged for a while is sent again. An output's bytes go before its entry.
void SimAgent::ship(const std::string& id) {
  if (session_ == 0 || !welcomed_ || !up_) return;
  const uint64_t life = life_;
  Gang& gang = gangs_.at(id);
  const Time now = world_.clock().monotonic();
  if (paused_) {
    ship_later(id, kResendAfter);
    return;
  }
  if (gang.sent > gang.acknowledged) {
    // With something new to tell it may not wait for the answer, and say all of it again.
    const bool is_impatient = gang.sent < gang.journal.size() && world_.gang_watcher().is_impatient();
    if (!is_impatient && now - gang.progress < kResendAfter) {
      ship_later(id, kResendAfter);
      return;
    }
    gang.sent = gang.acknowledged;
  }
  if (gang.uploads || gang.sent >= gang.journal.size()) return;
  v1::AgentFrame frame;
  frame.mutable_journal()->set_gang_id(id);
  uint64_t count = 1 + world_.draw(gang.journal.size() - gang.sent);
  // An acknowledgement that comes during an upload may move `sent` on, up to the end.
  for (uint64_t i = 0; i < count && gang.sent < gang.journal.size(); ++i) {
    const v1::JournalEntry entry = gang.journal[gang.sent];
    if (entry.has_output()) {
      const bool uploaded = upload(id, entry);
      // The daemon may have ended in the call, and with it much else.
      if (life != life_ || !gangs_.contains(id) || session_ == 0) return;
      if (!uploaded) {
        ship_later(id, some_millis(100, 2000));
        break;
      }
    }
    *frame.mutable_journal()->add_entries() = entry;
    ++gang.sent;
  }
  if (frame.journal().entries_size() == 0) return;
  gang.progress = now;
  send(frame);
  ship_later(id, kResendAfter);
}

// ---- for whoever watches ----

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
