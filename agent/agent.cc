#include "agent/agent.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <set>
#include <sstream>

#include "agent/checkpoint_dirs.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "base/process.h"
#include "base/unfinished_files.h"

namespace freshet::agent {
namespace fs = std::filesystem;
namespace {

constexpr Duration kBackoffMin = Duration::millis(100);
// A daemon that was started again has its agents back within twice this time, and thousands of agents that have lost
// theirs hinder nobody.
constexpr Duration kBackoffMax = Duration::millis(400);
constexpr Duration kWelcomeDeadline = Duration::seconds(10);
constexpr Duration kHeartbeatDefault = Duration::seconds(1);
constexpr uint32_t kFenceGraceMs = 2000;

// Ids come from the daemon and become names of directories and cgroups.
bool is_gang_id(const std::string& id) {
  return !id.empty() && id.size() <= 64 &&
         id.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyz-") == std::string::npos;
}

std::string cpu_model() {
  auto text = read_file("/proc/cpuinfo");
  if (!text.is_ok()) return {};
  std::istringstream lines(*text);
  std::string line;
  while (std::getline(lines, line)) {
    size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return {};
}

// The name under which the daemon knows this directory's node must not change while gangs may be on it.
Status keep_node_name(const fs::path& path, const std::string& node) {
  auto stored = read_file(path);
  if (stored.status().code() == Code::kNotFound) {
    CRASH_POINT("agent.node.before_write");
    return write_file_durably(path, node + "\n");
  }
  RETURN_IF_ERROR(stored.status());
  if (*stored == node + "\n") return Status::ok();
  return conflict(path.parent_path().string() + " belongs to node " + stored->substr(0, stored->find('\n')) +
                  ", not to " + node);
}

}  // namespace

Result<std::unique_ptr<Agent>> Agent::open(AgentOptions options, DaemonNetwork& network, const Clock& clock,
                                           Random& random) {
  std::unique_ptr<Agent> agent(new Agent(std::move(options), network, clock, random));
  RETURN_IF_ERROR(agent->prepare());
  return agent;
}

Agent::Agent(AgentOptions options, DaemonNetwork& network, const Clock& clock, Random& random)
    : options_(std::move(options)),
      network_(network),
      clock_(clock),
      random_(random),
      cache_(options_.dir / "artifacts"),
      context_{options_.dir,
               options_.program,
               cache_,
               network_,
               clock_,
               [this](uint64_t connection, const v1::AgentFrame& frame) { return send(connection, frame); },
               [this] {
                 std::lock_guard lock(inbox_mutex_);
                 inbox_.gang_gone = true;
                 inbox_changed_.notify_all();
               }} {}

Agent::~Agent() {
  gangs_.clear();
  close_channel();
  std::error_code ignored;
  if (lock_.is_open()) fs::remove(options_.dir / "agent.pid.json", ignored);
}

Status Agent::prepare() {
  if (options_.node.empty()) return invalid_argument("the node needs a name");
  if (options_.slots == 0) return invalid_argument("the node needs at least one slot");
  RETURN_IF_ERROR(make_directories(options_.dir / "gangs"));
  const fs::path lock_path = options_.dir / "agent.lock";
  Fd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.is_open()) return errno_status("open " + lock_path.string(), errno);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return conflict("another agent is running on " + options_.dir.string());
  }
  RETURN_IF_ERROR(remove_unfinished_files(options_.dir));
  RETURN_IF_ERROR(keep_node_name(options_.dir / "node.id", options_.node));
  ASSIGN_OR_RETURN(boot_id_, boot_id());
  ASSIGN_OR_RETURN(ledger_, EpochLedger::open(options_.dir / "epochs"));
  RETURN_IF_ERROR(cache_.clean_up());
  ASSIGN_OR_RETURN(ProcessId self, identify(::getpid()));
  lock_ = std::move(lock);
  CRASH_POINT("agent.process.before_write");
  RETURN_IF_ERROR(write_process(options_.dir / "agent.pid.json", self));
  CRASH_POINT("agent.process.after_write");
  CRASH_POINT("agent.gangs.before_find");
  return find_gangs();
}

Status Agent::find_gangs() {
  std::error_code error;
  std::vector<fs::path> dirs;
  for (const auto& entry : fs::directory_iterator(options_.dir / "gangs", error)) dirs.push_back(entry.path());
  if (error) return errno_status("list " + (options_.dir / "gangs").string(), error.value());
  for (const fs::path& dir : dirs) {
    v1::AttemptSpec attempt;
    Status status = read_message(GangFiles(dir).attempt(), &attempt);
    if (status.is_ok() && attempt.gang_id() == dir.filename()) {
      gangs_[attempt.gang_id()] = std::make_unique<Gang>(context_, attempt);
      log_info("agent", "found gang " + attempt.gang_id() + " of " + describe(attempt.work(), attempt.epoch()));
      continue;
    }
    // Half made or half removed: nothing has run in it, or its end is in the daemon's store.
    log_info("agent", "removing " + dir.string() + ": it holds no attempt");
    fs::remove_all(dir, error);
    if (error) return errno_status("remove " + dir.string(), error.value());
  }
  return drop_old_checkpoints();
}

void Agent::stop() {
  std::lock_guard lock(inbox_mutex_);
  inbox_.stopping = true;
  inbox_changed_.notify_all();
}

void Agent::run() {
  log_info("agent",
           "node " + options_.node + " with " + std::to_string(options_.slots) + " slots in " + options_.dir.string());
  Duration backoff = kBackoffMin;
  for (;;) {
    if (serve()) backoff = kBackoffMin;
    // Between one and two times the backoff, so that many agents do not come back all at once.
    const Time again = clock_.monotonic() + backoff +
                       Duration::micros(static_cast<int64_t>(random_.next() % static_cast<uint64_t>(backoff.us)));
    do {
      if (take_inbox(again).stopping) return;
    } while (clock_.monotonic() < again);
    backoff = std::min(backoff + backoff, kBackoffMax);
  }
}

bool Agent::serve() {
  const uint64_t number = ++connection_;
  {
    std::lock_guard lock(inbox_mutex_);
    inbox_number_ = number;
    inbox_.frames.clear();
    inbox_.closed.reset();
    if (inbox_.stopping) return false;
  }
  auto is_current = [this, number] { return inbox_number_ == number; };
  ChannelCallbacks callbacks;
  callbacks.on_frame = [this, is_current](v1::DaemonFrame frame) {
    std::lock_guard lock(inbox_mutex_);
    if (!is_current()) return;
    inbox_.frames.push_back(std::move(frame));
    inbox_changed_.notify_all();
  };
  callbacks.on_close = [this, is_current](const Status& reason) {
    std::lock_guard lock(inbox_mutex_);
    if (!is_current()) return;
    inbox_.closed = reason;
    inbox_changed_.notify_all();
  };
  auto channel = network_.connect(std::move(callbacks));
  if (!channel.is_ok()) {
    // Once for each reason: it may be away for days.
    std::string reason = channel.status().to_string();
    if (reason != unreachable_) log_warning("agent", "cannot reach the daemon, trying again: " + reason);
    unreachable_ = std::move(reason);
    return false;
  }
  unreachable_.clear();
  open_channel(number, std::move(*channel));
  welcomed_ = false;
  heartbeat_ = kHeartbeatDefault;
  CRASH_POINT("agent.hello.before_send");
  Status status = send(number, hello());
  CRASH_POINT("agent.hello.after_send");
  const Time welcome_deadline = clock_.monotonic() + kWelcomeDeadline;
  Time next_heartbeat = clock_.monotonic() + heartbeat_;
  bool stopping = false;
  while (status.is_ok() && !stopping) {
    Inbox inbox = take_inbox(welcomed_ ? next_heartbeat : std::min(next_heartbeat, welcome_deadline));
    stopping = inbox.stopping;
    const bool was_welcomed = welcomed_;
    for (const auto& frame : inbox.frames) {
      if (status.is_ok()) status = handle(frame);
    }
    if (welcomed_ && !was_welcomed) next_heartbeat = clock_.monotonic() + heartbeat_;
    remove_gone_gangs();
    if (status.is_ok() && inbox.closed) status = unavailable("connection ended: " + inbox.closed->message());
    const Time now = clock_.monotonic();
    if (status.is_ok() && !welcomed_ && now >= welcome_deadline) status = deadline("the daemon sent no welcome");
    if (status.is_ok() && welcomed_ && now >= next_heartbeat) {
      v1::AgentFrame frame;
      frame.mutable_heartbeat()->set_sent_us(clock_.now().us);
      CRASH_POINT("agent.heartbeat.before_send");
      status = send(number, frame);
      CRASH_POINT("agent.heartbeat.after_send");
      next_heartbeat = now + heartbeat_;
    }
  }
  if (!stopping) log_warning("agent", status.to_string());
  for (auto& [id, gang] : gangs_) gang->disconnected();
  close_channel();
  return welcomed_;
}

Agent::Inbox Agent::take_inbox(Time until) {
  std::unique_lock lock(inbox_mutex_);
  auto has_news = [this] { return !inbox_.frames.empty() || inbox_.closed || inbox_.stopping || inbox_.gang_gone; };
  const int64_t wait_us = (until - clock_.monotonic()).us;
  inbox_changed_.wait_for(lock, std::chrono::microseconds(std::max<int64_t>(0, wait_us)), has_news);
  Inbox taken = std::move(inbox_);
  inbox_ = Inbox{};
  inbox_.stopping = taken.stopping;
  return taken;
}

v1::AgentFrame Agent::hello() const {
  v1::AgentFrame frame;
  auto* hello = frame.mutable_hello();
  hello->set_node(options_.node);
  hello->set_boot_id(boot_id_);
  hello->set_slots(options_.slots);
  hello->set_memory_bytes(static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                          static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)));
  hello->set_version(FRESHET_VERSION);
  hello->set_cpu(cpu_model());
  hello->set_highest_term(ledger_->highest_term());
  for (const auto& [id, gang] : gangs_) {
    if (!gang->is_gone()) *hello->add_gangs() = gang->status();
  }
  return frame;
}

Status Agent::handle(const v1::DaemonFrame& frame) {
  if (frame.has_welcome()) return on_welcome(frame.welcome());
  if (!welcomed_) return invalid_argument("the daemon's first frame is no welcome");
  switch (frame.frame_case()) {
    case v1::DaemonFrame::kPrepare:
      on_prepare(frame.prepare());
      return Status::ok();
    case v1::DaemonFrame::kLaunch:
      on_launch(frame.launch());
      return Status::ok();
    case v1::DaemonFrame::kStop:
      on_stop(frame.stop());
      return Status::ok();
    case v1::DaemonFrame::kJournalAck:
      if (Gang* gang = find_gang(frame.journal_ack().gang_id())) gang->acknowledge(frame.journal_ack().sequence());
      return Status::ok();
    case v1::DaemonFrame::kForget:
      RETURN_IF_ERROR(check_term(frame.forget().term()));
      if (Gang* gang = find_gang(frame.forget().gang_id())) {
        CRASH_POINT("agent.forget.before_promise");
        RETURN_IF_ERROR(ledger_->finish(gang->attempt().work(), gang->attempt().epoch()));
        CRASH_POINT("agent.forget.after_promise");
        gang->forget();
      }
      return Status::ok();
    case v1::DaemonFrame::kHeartbeatAck:
      return Status::ok();
    default:
      return invalid_argument("the daemon sent a frame that this agent does not know; its version may be newer");
  }
}

Status Agent::on_welcome(const v1::Welcome& welcome) {
  CRASH_POINT("agent.welcome.before_term");
  RETURN_IF_ERROR(ledger_->accept_term(welcome.term()));
  CRASH_POINT("agent.welcome.after_term");
  welcomed_ = true;
  term_ = welcome.term();
  if (welcome.heartbeat_ms() > 0) heartbeat_ = Duration::millis(welcome.heartbeat_ms());
  std::map<std::string, uint64_t> positions;
  for (const auto& journal : welcome.journals()) positions[journal.gang_id()] = journal.sequence();
  for (auto& [id, gang] : gangs_) gang->connected(connection_, positions[id]);
  log_info("agent", "connected to the daemon of term " + std::to_string(term_) + " with " +
                        std::to_string(gangs_.size()) + " gangs");
  return Status::ok();
}

Status Agent::check_term(uint64_t term) const {
  if (term == term_) return Status::ok();
  return conflict("a frame of term " + std::to_string(term) + " on a connection of term " + std::to_string(term_));
}

void Agent::on_prepare(const v1::Prepare& prepare) {
  Status status = check_term(prepare.term());
  if (status.is_ok() && !is_gang_id(prepare.gang_id())) {
    status = invalid_argument("\"" + prepare.gang_id() + "\" is no gang id");
  }
  if (status.is_ok()) {
    v1::AcceptedEpoch epoch;
    epoch.set_term(prepare.term());
    *epoch.mutable_work() = prepare.work();
    epoch.set_epoch(prepare.epoch());
    epoch.set_gang_id(prepare.gang_id());
    CRASH_POINT("agent.prepare.before_promise");
    status = ledger_->accept(epoch);
    CRASH_POINT("agent.prepare.after_promise");
  }
  if (status.is_ok()) {
    // Two epochs of the same work never run side by side.
    for (auto& [id, gang] : gangs_) {
      if (work_key(gang->attempt().work()) != work_key(prepare.work()) || gang->attempt().epoch() >= prepare.epoch()) {
        continue;
      }
      v1::StopAttempt stop;
      stop.set_gang_id(id);
      stop.set_grace_ms(kFenceGraceMs);
      stop.set_reason("epoch " + std::to_string(prepare.epoch()) + " takes its place");
      if (Status stopped = gang->stop(stop); !stopped.is_ok()) log_error("agent", stopped.to_string());
    }
  } else {
    log_warning("agent", "gang " + prepare.gang_id() + " is refused: " + status.to_string());
  }
  v1::AgentFrame frame;
  auto* reply = frame.mutable_prepared();
  *reply->mutable_work() = prepare.work();
  reply->set_epoch(prepare.epoch());
  reply->set_gang_id(prepare.gang_id());
  if (!status.is_ok()) reply->set_error(status.message());
  if (Status sent = send(connection_, frame); !sent.is_ok()) log_warning("agent", sent.to_string());
  CRASH_POINT("agent.prepare.after_reply");
}

void Agent::on_launch(const v1::Launch& launch) {
  const v1::AttemptSpec& attempt = launch.attempt();
  Status status = check_term(launch.term());
  if (status.is_ok()) status = ledger_->check(attempt.work(), attempt.epoch(), attempt.gang_id());
  if (status.is_ok() && attempt.ranks() == 0) status = invalid_argument("an attempt needs at least one rank");
  if (status.is_ok()) status = start_gang(attempt);
  if (status.is_ok()) return;  // the gang answers
  log_warning("agent", "gang " + attempt.gang_id() + " is not launched: " + status.to_string());
  v1::AgentFrame frame;
  auto* reply = frame.mutable_launched();
  *reply->mutable_work() = attempt.work();
  reply->set_epoch(attempt.epoch());
  reply->set_gang_id(attempt.gang_id());
  reply->set_error(status.message());
  if (Status sent = send(connection_, frame); !sent.is_ok()) log_warning("agent", sent.to_string());
}

Status Agent::start_gang(const v1::AttemptSpec& attempt) {
  if (Gang* gang = find_gang(attempt.gang_id())) {
    gang->launch();
    return Status::ok();
  }
  CRASH_POINT("agent.gang.before_make");
  RETURN_IF_ERROR(make_directories(options_.dir / "gangs" / attempt.gang_id()));
  CRASH_POINT("agent.gang.after_make");
  auto gang = std::make_unique<Gang>(context_, attempt);
  gang->connected(connection_, 0);
  gang->launch();
  gangs_[attempt.gang_id()] = std::move(gang);
  return Status::ok();
}

void Agent::on_stop(const v1::StopAttempt& stop) {
  Gang* gang = find_gang(stop.gang_id());
  Status status = check_term(stop.term());
  if (status.is_ok() && gang == nullptr) status = not_found("there is no such gang here");
  if (status.is_ok()) status = gang->stop(stop);
  if (!status.is_ok()) log_warning("agent", "stop of gang " + stop.gang_id() + ": " + status.to_string());
}

Gang* Agent::find_gang(const std::string& gang_id) {
  remove_gone_gangs();
  auto found = gangs_.find(gang_id);
  return found == gangs_.end() ? nullptr : found->second.get();
}

void Agent::remove_gone_gangs() {
  if (std::erase_if(gangs_, [](const auto& item) { return item.second->is_gone(); }) == 0) return;
  if (Status status = drop_old_checkpoints(); !status.is_ok()) log_warning("agent", status.to_string());
}

Status Agent::drop_old_checkpoints() const {
  std::set<fs::path> used;
  for (const auto& [id, gang] : gangs_) used.insert(checkpoint_dir(options_.dir, gang->attempt().work()));
  return remove_old_checkpoints(options_.dir, used, clock_.now());
}

void Agent::open_channel(uint64_t connection, std::unique_ptr<AgentChannel> channel) {
  std::lock_guard lock(channel_mutex_);
  channel_ = std::move(channel);
  channel_number_ = connection;
}

void Agent::close_channel() {
  std::unique_ptr<AgentChannel> channel;
  {
    std::lock_guard lock(channel_mutex_);
    channel = std::move(channel_);
    channel_number_ = 0;
  }
  // Destroyed without the lock: it waits for its callbacks.
  channel.reset();
}

Status Agent::send(uint64_t connection, const v1::AgentFrame& frame) {
  std::lock_guard lock(channel_mutex_);
  if (channel_ == nullptr || channel_number_ != connection) return unavailable("not connected to the daemon");
  return channel_->send(frame);
}

}  // namespace freshet::agent
