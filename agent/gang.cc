#include "agent/gang.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/artifact_dir.h"
#include "agent/checkpoint_dirs.h"
#include "agent/containment.h"
#include "agent/supervisor.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "base/metric_ring.h"

namespace freshet::agent {
namespace fs = std::filesystem;
namespace {

constexpr uint32_t kRingPoints = 1u << 14;
constexpr int kChunkEntries = 64;
constexpr size_t kChunkBytes = 1u << 20;
constexpr uint64_t kUnacknowledgedMax = 1024;
constexpr Duration kResendAfter = Duration::seconds(5);
constexpr Duration kBackoffMin = Duration::millis(100);
constexpr Duration kBackoffMax = Duration::seconds(2);
constexpr Duration kFetchPatience = Duration::seconds(30);
constexpr Duration kSettleRetry = Duration::seconds(1);
constexpr uint32_t kForgetGraceMs = 2000;

bool is_permanent(const Status& status) {
  return status.code() == Code::kCorrupt || status.code() == Code::kInvalidArgument;
}

// The artifacts a task needs on the node, to be filled in with their places.
// The training that the attempt does, for the first time or again; null when it does none.
const v1::TrainTask* training_of(const v1::AttemptSpec& attempt) {
  if (attempt.has_train()) return &attempt.train();
  return attempt.has_replay() ? &attempt.replay().train() : nullptr;
}

std::vector<v1::ArtifactRef*> artifacts_of(v1::AttemptSpec* attempt) {
  std::vector<v1::ArtifactRef*> artifacts;
  if (attempt->has_replay()) {
    v1::ReplayTask* replay = attempt->mutable_replay();
    artifacts.push_back(replay->mutable_train()->mutable_warm_start());
    artifacts.push_back(replay->mutable_model());
  }
  if (attempt->has_train() && attempt->train().has_warm_start()) {
    artifacts.push_back(attempt->mutable_train()->mutable_warm_start());
  }
  if (attempt->has_evaluate()) {
    if (attempt->evaluate().has_candidate()) artifacts.push_back(attempt->mutable_evaluate()->mutable_candidate());
    if (attempt->evaluate().has_champion()) artifacts.push_back(attempt->mutable_evaluate()->mutable_champion());
  }
  if (attempt->has_inspect() && attempt->inspect().has_champion()) {
    artifacts.push_back(attempt->mutable_inspect()->mutable_champion());
  }
  if (attempt->has_command()) {
    for (auto& input : *attempt->mutable_command()->mutable_inputs()) artifacts.push_back(&input);
  }
  std::erase_if(artifacts, [](const v1::ArtifactRef* artifact) { return artifact->digest().empty(); });
  return artifacts;
}

}  // namespace

Gang::Gang(const GangContext& context, v1::AttemptSpec attempt)
    : context_(context),
      attempt_(std::move(attempt)),
      files_(context.agent_dir / "gangs" / attempt_.gang_id()),
      transfer_(context.network.make_transfer()),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      inotify_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)),
      reader_(files_.journal()) {
  CHECK(wake_fd_.is_open() && inotify_.is_open());
  attempt_.set_output_dir(files_.output().string());
  attempt_.set_metric_ring(files_.ring().string());
  const v1::TrainTask* training = training_of(attempt_);
  if (training != nullptr) {
    attempt_.set_checkpoint_dir(checkpoint_dir(context_.agent_dir, attempt_.work()).string());
  }
  if (training != nullptr && training->step().checkpoints_in_memory() > 0) {
    auto made = make_checkpoint_memory_dir(context_.agent_dir, attempt_.work());
    if (made.is_ok()) attempt_.set_checkpoint_memory_dir(made->string());
    if (!made.is_ok()) log_warning("agent", "checkpoints are on disk only: " + made.status().message());
  }
  for (v1::ArtifactRef* artifact : artifacts_of(&attempt_)) {
    artifact->set_path(context_.cache.path_of(artifact->digest()).string());
  }
  ::inotify_add_watch(inotify_.get(), files_.dir.c_str(), IN_CREATE | IN_MOVED_TO);
  thread_ = std::thread([this] { run(); });
}

Gang::~Gang() {
  {
    std::lock_guard lock(mutex_);
    wishes_.quit = true;
  }
  transfer_->cancel();
  wake();
  thread_.join();
}

void Gang::wake() {
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the thread wakes anyway.
  [[maybe_unused]] ssize_t written = ::write(wake_fd_.get(), &one, sizeof one);
}

void Gang::launch() {
  {
    std::lock_guard lock(mutex_);
    wishes_.launch = true;
  }
  wake();
}

Status Gang::stop(const v1::StopAttempt& stop) {
  std::error_code ignored;
  if (fs::exists(files_.stop(), ignored)) return Status::ok();
  CRASH_POINT("agent.stop.before_write");
  Status written = write_message(files_.stop(), stop);
  CRASH_POINT("agent.stop.after_write");
  return written;
}

void Gang::connected(uint64_t connection, uint64_t position) {
  {
    std::lock_guard lock(mutex_);
    wishes_.connection = connection;
    wishes_.position = position;
    wishes_.acknowledged = position;
  }
  wake();
}

void Gang::disconnected() {
  std::lock_guard lock(mutex_);
  wishes_.connection = 0;
}

void Gang::acknowledge(uint64_t sequence) {
  {
    std::lock_guard lock(mutex_);
    wishes_.acknowledged = std::max(wishes_.acknowledged, sequence);
  }
  wake();
}

void Gang::forget() {
  {
    std::lock_guard lock(mutex_);
    wishes_.forget = true;
  }
  wake();
}

bool Gang::is_gone() const {
  std::lock_guard lock(mutex_);
  return gone_;
}

bool Gang::should_quit() const {
  std::lock_guard lock(mutex_);
  return wishes_.quit || wishes_.forget;
}

Gang::Wishes Gang::take_wishes() {
  std::lock_guard lock(mutex_);
  Wishes taken = wishes_;
  wishes_.launch = false;
  wishes_.position.reset();
  return taken;
}

v1::GangStatus Gang::status() const {
  v1::GangStatus status;
  *status.mutable_work() = attempt_.work();
  status.set_epoch(attempt_.epoch());
  status.set_gang_id(attempt_.gang_id());
  auto process = read_process(files_.process());
  status.set_running(process.is_ok() && *process && is_running(**process));
  if (auto end = journal_end(files_.journal()); end.is_ok()) status.set_journal_last(end->last);
  return status;
}

void Gang::run() {
  for (;;) {
    wake_at_ = Time::never();
    const Wishes wishes = take_wishes();
    if (wishes.quit) return;
    if (wishes.launch) launch_now(wishes);
    if (is_gone()) return;
    watch_supervisor();
    if (wishes.forget && is_supervised()) {
      v1::StopAttempt stop;
      stop.set_gang_id(id());
      stop.set_grace_ms(kForgetGraceMs);
      stop.set_reason("the daemon has forgotten this gang");
      if (Status status = this->stop(stop); !status.is_ok()) log_error("agent", status.to_string());
    } else if (wishes.forget) {
      Status status = remove_files();
      if (status.is_ok()) {
        log_info("agent", "gang " + id() + " is settled and removed");
        std::lock_guard lock(mutex_);
        gone_ = true;
      } else {
        log_error("agent", "gang " + id() + " could not be removed: " + status.to_string());
        retry_at(context_.clock.monotonic() + kSettleRetry);
      }
    } else if (wishes.connection != 0 && (settled_ || is_supervised())) {
      ship(wishes);
    }
    if (is_gone()) {
      context_.on_gone();
      return;
    }
    wait();
  }
}

void Gang::wait() {
  if (!watches_journal_) {
    watches_journal_ = ::inotify_add_watch(inotify_.get(), files_.journal().c_str(), IN_MODIFY) >= 0;
    // What was written between the last look and the watch is looked at now.
    if (watches_journal_) return;
  }
  pollfd fds[] = {{wake_fd_.get(), POLLIN, 0}, {inotify_.get(), POLLIN, 0}, {supervisor_.get(), POLLIN, 0}};
  int timeout_ms = -1;
  if (wake_at_ != Time::never()) {
    timeout_ms = static_cast<int>(std::max<int64_t>(0, (wake_at_ - context_.clock.monotonic()).us + 999) / 1000);
  }
  if (::poll(fds, is_supervised() ? 3 : 2, timeout_ms) < 0) return;  // interrupted: a look too many does no harm
  alignas(inotify_event) char buffer[4096];
  while (::read(wake_fd_.get(), buffer, sizeof(uint64_t)) > 0) {
  }
  while (::read(inotify_.get(), buffer, sizeof buffer) > 0) {
  }
}

void Gang::reply_launched(const Wishes& wishes, const Status& status) {
  v1::AgentFrame frame;
  auto* reply = frame.mutable_launched();
  *reply->mutable_work() = attempt_.work();
  reply->set_epoch(attempt_.epoch());
  reply->set_gang_id(id());
  if (!status.is_ok()) reply->set_error(status.message());
  CRASH_POINT("agent.launched.before_send");
  Status sent = context_.send(wishes.connection, frame);
  CRASH_POINT("agent.launched.after_send");
  // The daemon asks again after it has connected again.
  if (!sent.is_ok()) log_info("agent", "gang " + id() + ": the answer to launch was not sent: " + sent.message());
}

void Gang::launch_now(const Wishes& wishes) {
  auto process = read_process(files_.process());
  std::error_code ignored;
  if ((process.is_ok() && *process) || fs::exists(files_.journal(), ignored)) {
    reply_launched(wishes, Status::ok());
    return;
  }
  const Time begin = context_.clock.monotonic();
  CRASH_POINT("agent.launch.before_files");
  Status status = place_files();
  CRASH_POINT("agent.launch.before_artifacts");
  if (status.is_ok()) status = fetch_artifacts();
  CRASH_POINT("agent.launch.before_supervisor");
  const Duration fetched = context_.clock.monotonic() - begin;
  if (should_quit()) return;
  if (status.is_ok()) status = start_supervisor(context_.program, files_, id());
  CRASH_POINT("agent.launch.after_supervisor");
  if (!status.is_ok()) {
    fail_launch(wishes, status);
    return;
  }
  log_info("agent", "launched gang " + id() + " for " + describe(attempt_.work(), attempt_.epoch()) +
                        ": files and artifacts " + std::to_string(fetched.us / 1000) + " ms, supervisor " +
                        std::to_string((context_.clock.monotonic() - begin - fetched).us / 1000) + " ms");
  reply_launched(wishes, Status::ok());
}

Status Gang::place_files() {
  RETURN_IF_ERROR(make_directories(files_.output()));
  ASSIGN_OR_RETURN([[maybe_unused]] auto ring, MetricRing::create(files_.ring(), kRingPoints));
  return write_message(files_.attempt(), attempt_);
}

Status Gang::fetch_artifacts() {
  const Time patience = context_.clock.monotonic() + kFetchPatience;
  v1::AttemptSpec attempt = attempt_;
  for (const v1::ArtifactRef* artifact : artifacts_of(&attempt)) {
    for (Duration backoff = kBackoffMin;; backoff = std::min(backoff + backoff, kBackoffMax)) {
      Status status = context_.cache.fetch(artifact->digest(), *transfer_);
      if (status.is_ok()) break;
      const bool again = status.code() == Code::kUnavailable || status.code() == Code::kDeadline;
      if (!again || should_quit() || context_.clock.monotonic() > patience) return status;
      log_warning("agent", "gang " + id() + ": " + status.to_string() + "; trying again");
      wake_at_ = context_.clock.monotonic() + backoff;
      wait();
    }
  }
  return Status::ok();
}

// Nothing has run, so nothing is worth keeping: the epoch stays accepted, and the daemon may launch the same gang
// again.
void Gang::fail_launch(const Wishes& wishes, const Status& why) {
  log_error("agent", "gang " + id() + " could not be launched: " + why.to_string());
  {
    // First of all: a launch that comes from here on waits for this object's end and makes another.
    std::lock_guard lock(mutex_);
    gone_ = true;
  }
  CRASH_POINT("agent.launch_failure.before_kill");
  Status status = remove_files();
  CRASH_POINT("agent.launch_failure.after_removal");
  if (!status.is_ok()) log_error("agent", "gang " + id() + " could not be removed: " + status.to_string());
  reply_launched(wishes, why);
  context_.on_gone();
}

void Gang::watch_supervisor() {
  if (settled_) return;
  if (supervisor_.is_open()) {
    pollfd ended{supervisor_.get(), POLLIN, 0};
    if (::poll(&ended, 1, 0) == 0) return;
    supervisor_.reset();
    settle();
    return;
  }
  auto process = read_process(files_.process());
  if (!process.is_ok()) {
    log_error("agent", process.status().to_string());
    return;
  }
  if (!*process) return;  // not launched
  auto pidfd = open_process(**process);
  if (pidfd.is_ok()) {
    supervisor_ = std::move(*pidfd);
  } else {
    settle();
  }
}

void Gang::settle() {
  CRASH_POINT("agent.lost_gang.before_record");
  Status status = record_lost(files_, id(), "supervisor died: cause unknown", std::nullopt, context_.clock);
  CRASH_POINT("agent.lost_gang.after_record");
  settled_ = status.is_ok();
  if (settled_) return;
  log_error("agent", "gang " + id() + " could not be settled: " + status.to_string());
  retry_at(context_.clock.monotonic() + kSettleRetry);
}

void Gang::ship(const Wishes& wishes) {
  const Time now = context_.clock.monotonic();
  std::optional<uint64_t> from = wishes.position;
  if (wishes.acknowledged > acknowledged_ || from) progress_at_ = now;
  acknowledged_ = wishes.acknowledged;
  if (sent_ > acknowledged_ && now - progress_at_ >= kResendAfter) from = acknowledged_;
  if (from) {
    reader_.rewind();
    held_.reset();
    upload_at_ = Time{};
    upload_backoff_ = kBackoffMin;
    sent_ = *from;
    progress_at_ = now;
  }
  v1::JournalChunk chunk;
  uint64_t last = sent_;
  size_t bytes = 0;
  while (last - std::min(last, acknowledged_) < kUnacknowledgedMax) {
    if (held_) {
      if (!send_chunk(wishes.connection, &chunk) || !upload(*held_)) break;
    } else {
      auto entry = reader_.next();
      if (!entry.is_ok()) log_error("agent", entry.status().to_string());
      if (!entry.is_ok() || !*entry) break;
      if ((*entry)->sequence() <= sent_) continue;
      held_ = std::move(**entry);
      if (held_->has_output()) continue;
    }
    last = held_->sequence();
    bytes += held_->ByteSizeLong();
    *chunk.add_entries() = std::move(*held_);
    held_.reset();
    if (chunk.entries_size() < kChunkEntries && bytes < kChunkBytes) continue;
    bytes = 0;
    if (!send_chunk(wishes.connection, &chunk)) return;
  }
  send_chunk(wishes.connection, &chunk);
  if (sent_ > acknowledged_) retry_at(progress_at_ + kResendAfter);
}

// What the daemon has stored must not be lost by this node, so it is on disk before it is sent.
bool Gang::send_chunk(uint64_t connection, v1::JournalChunk* chunk) {
  if (chunk->entries_size() == 0) return true;
  const uint64_t last = chunk->entries(chunk->entries_size() - 1).sequence();
  CRASH_POINT("agent.journal.before_sync");
  Status status = reader_.sync();
  CRASH_POINT("agent.journal.after_sync");
  if (status.is_ok()) {
    v1::AgentFrame frame;
    chunk->set_gang_id(id());
    frame.mutable_journal()->Swap(chunk);
    status = context_.send(connection, frame);
    CRASH_POINT("agent.journal.after_send");
  }
  chunk->Clear();
  if (!status.is_ok()) {
    log_info("agent", "gang " + id() + ": its journal waits: " + status.message());
    reader_.rewind();  // to behind sent_
    held_.reset();
    retry_at(context_.clock.monotonic() + kBackoffMin);
    return false;
  }
  if (sent_ <= acknowledged_) progress_at_ = context_.clock.monotonic();
  sent_ = last;
  return true;
}

bool Gang::upload(const v1::JournalEntry& entry) {
  const Time now = context_.clock.monotonic();
  if (now < upload_at_) {
    retry_at(upload_at_);
    return false;
  }
  const v1::ProducedOutput& output = entry.output();
  CRASH_POINT("agent.output.before_upload");
  Status status = upload_artifact(output.path(), output.digest(), *transfer_);
  CRASH_POINT("agent.output.after_upload");
  if (status.is_ok()) {
    log_info("agent", "gang " + id() + ": uploaded " + output.name() + " " + output.digest() + " in " +
                          std::to_string((context_.clock.monotonic() - now).us / 1000) + " ms");
    upload_backoff_ = kBackoffMin;
    return true;
  }
  if (should_quit()) return false;
  if (is_permanent(status)) {
    abandon(entry, status);
    return false;
  }
  log_warning("agent", "gang " + id() + ": output " + output.name() + " waits: " + status.to_string());
  upload_at_ = context_.clock.monotonic() + upload_backoff_;
  upload_backoff_ = std::min(upload_backoff_ + upload_backoff_, kBackoffMax);
  retry_at(upload_at_);
  return false;
}

// An output that can never be stored: the daemon has not heard of it, and hears instead that the attempt was lost.
void Gang::abandon(const v1::JournalEntry& entry, const Status& why) {
  const std::string message = "output " + entry.output().name() + " could not be stored: " + why.message();
  log_error("agent", "gang " + id() + ": " + message);
  Status status = record_lost(files_, id(), message, entry.sequence() - 1, context_.clock);
  if (!status.is_ok()) log_error("agent", "gang " + id() + " could not be settled: " + status.to_string());
  supervisor_.reset();
  settled_ = status.is_ok();
  reader_.rewind();
  held_.reset();
  retry_at(context_.clock.monotonic() + (settled_ ? Duration{} : kSettleRetry));
}

Status Gang::remove_files() {
  // A supervisor has done this already, unless it died before it could write down who it is. What a job has moved out
  // of its cgroup is also found here.
  RETURN_IF_ERROR(kill_gang(id()));
  v1::ExitRecord exit;
  const bool has_exit = read_message(files_.exit(), &exit).is_ok();
  if (training_of(attempt_) != nullptr && has_exit && exit.cause() == v1::ExitRecord::EXITED && exit.code() == 0) {
    RETURN_IF_ERROR(remove_checkpoints(context_.agent_dir, attempt_.work()));
  }
  const fs::path logs = context_.agent_dir / "logs";
  RETURN_IF_ERROR(make_directories(logs));
  CRASH_POINT("agent.logs.before_move");
  for (const auto& [from, stream] :
       {std::pair(files_.stdout_log(), ".stdout.log"), std::pair(files_.stderr_log(), ".stderr.log")}) {
    if (::rename(from.c_str(), (logs / (id() + stream)).c_str()) != 0 && errno != ENOENT) {
      return errno_status("move " + from.string(), errno);
    }
  }
  // Renamed first: a directory that is half removed must not be taken for a gang.
  const fs::path gone = files_.dir.parent_path() / (kGonePrefix + id());
  CRASH_POINT("agent.gang.before_rename");
  if (::rename(files_.dir.c_str(), gone.c_str()) != 0 && errno != ENOENT) {
    return errno_status("rename " + files_.dir.string(), errno);
  }
  CRASH_POINT("agent.gang.before_removal");
  std::error_code error;
  fs::remove_all(gone, error);
  CRASH_POINT("agent.gang.after_removal");
  if (error) return errno_status("remove " + gone.string(), error.value());
  return Status::ok();
}

}  // namespace freshet::agent
