#include "agent/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>

#include "agent/artifact_dir.h"
#include "agent/command.h"
#include "agent/containment.h"
#include "agent/exit_report.h"
#include "agent/journal.h"
#include "agent/launch.h"
#include "agent/metric_pump.h"
#include "agent/rank_server.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "proto/json.h"

extern char** environ;

namespace freshet::agent {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSocketName = "supervisor.sock";
constexpr size_t kSocketPathMax = 107;
constexpr Duration kDefaultGrace = Duration::seconds(5);
constexpr Duration kJournalRetry = Duration::millis(500);
constexpr Duration kJournalPatience = Duration::seconds(600);
constexpr size_t kStderrBytes = 64u << 10;

fs::path shared_memory_of(const std::string& gang_id) { return fs::path("/dev/shm") / ("freshet-" + gang_id); }

// More than any job of ours needs (mpirun, ranks, the threads of each, and what a command starts), and few enough for
// the machine to live on when a job forks for ever.
uint64_t processes_max(const v1::AttemptSpec& attempt) {
  return 1024 + uint64_t{attempt.ranks()} * (64 + 4 * uint64_t{attempt.threads_per_rank()});
}

std::string tail_of_file(const fs::path& path, size_t bytes) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) return {};
  const off_t end = ::lseek(fd.get(), 0, SEEK_END);
  const off_t start = std::max<off_t>(0, end - static_cast<off_t>(bytes));
  std::string text(static_cast<size_t>(std::max<off_t>(0, end - start)), '\0');
  ssize_t n = ::pread(fd.get(), text.data(), text.size(), start);
  text.resize(static_cast<size_t>(std::max<ssize_t>(0, n)));
  return text;
}

class Supervisor {
 public:
  explicit Supervisor(SupervisorOptions options) : options_(std::move(options)), files_(options_.gang_dir) {}

  Status run();

 private:
  Status prepare();
  Status watch();
  Status start_ranks();
  Result<Command> make_command();
  void loop();
  void on_signals();
  void on_directory_change();
  void on_frame(const v1::RankFrame& frame);
  void on_output(const v1::ProducedOutput& output);
  void reap();
  void begin_stop(Duration grace);
  void tick();
  void record(v1::JournalEntry entry);
  void record_started();
  bool flush_journal();
  void seal_command_outputs();
  Status finish(v1::ExitRecord exit);
  void tell_ready();
  int timeout_ms() const;
  Time now() const { return clock_.monotonic(); }

  SystemClock clock_;
  SupervisorOptions options_;
  GangFiles files_;
  Fd lock_;
  Fd epoll_;
  Fd signals_;
  Fd directory_;
  v1::AttemptSpec attempt_;
  std::unique_ptr<Containment> containment_;
  std::optional<RankServer> server_;
  std::optional<MetricPump> metrics_;
  std::optional<JournalWriter> journal_;
  std::deque<v1::JournalEntry> pending_;  // not yet in the journal: the disk is full or failing
  Time journal_retry_{};
  fs::path shared_memory_;
  bool launched_ = false;
  bool running_ = false;
  Child child_;
  v1::Process launcher_;
  std::map<uint32_t, v1::Process> ranks_;
  ExitFacts facts_;
  Time timeout_at_ = Time::never();
  Time kill_at_ = Time::never();
};

Status Supervisor::run() {
  if (::chdir(files_.dir.c_str()) != 0) return errno_status("chdir " + files_.dir.string(), errno);
  lock_ = Fd(::open(files_.lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_.is_open()) return errno_status("open " + files_.lock().string(), errno);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    tell_ready();
    return Status::ok();
  }
  RETURN_IF_ERROR(read_message(files_.attempt(), &attempt_));
  ASSIGN_OR_RETURN(auto before, read_process(files_.process()));
  if (before) {
    // This gang has been started before: whatever became of it, its ranks are never started a second time.
    tell_ready();
    return record_lost(files_, attempt_.gang_id(), "supervisor died: cause unknown", std::nullopt, clock_);
  }
  CRASH_POINT("supervisor.gang.before_preparation");
  RETURN_IF_ERROR(prepare());
  tell_ready();
  Status started = facts_.stop_requested ? Status::ok() : start_ranks();
  if (!started.is_ok()) {
    v1::ExitRecord exit;
    exit.set_cause(v1::ExitRecord::START_FAILED);
    exit.set_message(started.message());
    return finish(std::move(exit));
  }
  loop();
  CRASH_POINT("supervisor.ranks.before_kill");
  RETURN_IF_ERROR(containment_->kill_all());
  CRASH_POINT("supervisor.ranks.after_kill");
  reap();
  server_->drain();
  if (facts_.wait_status == 0 && launched_ && attempt_.has_command()) seal_command_outputs();
  facts_.ranks = attempt_.ranks();
  facts_.stderr_text = tail_of_file(files_.stderr_log(), kStderrBytes);
  facts_.out_of_memory_kills = containment_->out_of_memory_kills();
  return finish(classify_exit(facts_));
}

Status Supervisor::prepare() {
  // Fails only for the leader of a process group, which a supervisor started by the agent never is.
  if (::setsid() < 0) log_warning("supervisor", std::string("setsid: ") + std::strerror(errno));
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return errno_status("become child subreaper", errno);
  ::signal(SIGPIPE, SIG_IGN);
  // First of all, as the cgroup is a part of who the supervisor is. Were it to die before it has written that down, the
  // agent would take the gang for one that was never started, and remove the groups with its files.
  containment_ = make_containment(attempt_.gang_id(), processes_max(attempt_),
                                  options_.allow_cgroup ? read_cgroup_layout() : CgroupLayout());
  CRASH_POINT("supervisor.containment.after_make");
  ASSIGN_OR_RETURN(ProcessId self, identify(::getpid()));
  CRASH_POINT("supervisor.process.before_write");
  RETURN_IF_ERROR(write_process(files_.process(), self));
  CRASH_POINT("supervisor.process.after_write");
  RETURN_IF_ERROR(watch());
  // Looked for after the watch has begun, so that none can slip between.
  on_directory_change();
  return Status::ok();
}

Status Supervisor::watch() {
  epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.is_open()) return errno_status("epoll_create", errno);
  sigset_t mask;
  ::sigemptyset(&mask);
  for (int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&mask, signal);
  if (::sigprocmask(SIG_SETMASK, &mask, nullptr) != 0) return errno_status("sigprocmask", errno);
  signals_ = Fd(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_.is_open()) return errno_status("signalfd", errno);
  directory_ = Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!directory_.is_open()) return errno_status("inotify_init", errno);
  if (::inotify_add_watch(directory_.get(), files_.dir.c_str(), IN_MOVED_TO) < 0) {
    return errno_status("watch " + files_.dir.string(), errno);
  }
  for (int fd : {signals_.get(), directory_.get()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return errno_status("epoll_ctl", errno);
  }
  ASSIGN_OR_RETURN(auto server, RankServer::listen(kSocketName, epoll_.get(), attempt_,
                                                   [this](const v1::RankFrame& frame) { on_frame(frame); }));
  server_.emplace(std::move(server));
  ASSIGN_OR_RETURN(auto ring, MetricRing::open(files_.ring()));
  metrics_.emplace(std::move(ring));
  return Status::ok();
}

Result<Command> Supervisor::make_command() {
  LaunchConfig config;
  config.gang_dir = files_.dir;
  config.worker = options_.worker;
  config.mpirun = options_.mpirun;
  config.socket = files_.socket().native().size() <= kSocketPathMax ? files_.socket() : fs::path(kSocketName);
  for (char** variable = environ; *variable != nullptr; ++variable) config.environment.emplace_back(*variable);
  for (const fs::path& dir : {files_.output(), files_.temporary()}) RETURN_IF_ERROR(make_directories(dir));
  if (attempt_.has_command()) {
    RETURN_IF_ERROR(make_directories(files_.work()));
    config.data_file = files_.dir / "dataset.json";
    RETURN_IF_ERROR(write_file_durably(config.data_file, to_json_pretty(attempt_.command().data())));
    if (config.socket.is_relative()) return invalid_argument("the path " + files_.socket().string() + " is too long");
    if (attempt_.command().step().argv().empty()) return invalid_argument("the command of the step is empty");
  } else if (::access(options_.worker.c_str(), X_OK) != 0) {
    return errno_status("cannot start " + options_.worker.string(), errno);
  }
  if (attempt_.ranks() > 1) {
    if (::access(options_.mpirun.c_str(), X_OK) != 0) {
      return errno_status("cannot start " + options_.mpirun.string(), errno);
    }
    shared_memory_ = shared_memory_of(attempt_.gang_id());
    if (!make_directories(shared_memory_).is_ok()) shared_memory_ = files_.temporary();
    config.shared_memory = shared_memory_;
  }
  return build_launch(attempt_, config);
}

Status Supervisor::start_ranks() {
  ASSIGN_OR_RETURN(Command command, make_command());
  CRASH_POINT("supervisor.ranks.before_start");
  auto child = spawn(command, {files_.stdout_log(), files_.stderr_log(), containment_->procs_fds()});
  CRASH_POINT("supervisor.ranks.after_start");
  if (!child.is_ok()) {
    if (!attempt_.has_command() || attempt_.ranks() > 1) return child.status();
    // The user's own program is not there: the user's fault, told as a shell would.
    facts_.wait_status = W_EXITCODE(127, 0);
    facts_.failure = child.status().message();
    return Status::ok();
  }
  child_ = std::move(*child);
  launched_ = running_ = true;
  if (attempt_.timeout_s() > 0) timeout_at_ = now() + Duration::seconds(attempt_.timeout_s());
  if (auto identity = identify(child_.pid); identity.is_ok()) launcher_ = to_proto(*identity, 0);
  record_started();
  log_info("supervisor", describe(attempt_.work(), attempt_.epoch()) + " runs as process " +
                             std::to_string(child_.pid) + ", held by " + containment_->name());
  return Status::ok();
}

void Supervisor::record_started() {
  v1::JournalEntry entry;
  auto* started = entry.mutable_started();
  started->set_containment(containment_->name());
  CRASH_POINT("supervisor.started.before_record");
  if (attempt_.ranks() > 1 || ranks_.empty()) *started->add_processes() = launcher_;
  for (const auto& [rank, process] : ranks_) *started->add_processes() = process;
  record(std::move(entry));
  CRASH_POINT("supervisor.started.after_record");
}

void Supervisor::loop() {
  while (running_) {
    epoll_event events[32];
    int count = ::epoll_wait(epoll_.get(), events, 32, timeout_ms());
    if (count < 0 && errno != EINTR) {
      log_error("supervisor", std::string("epoll_wait: ") + std::strerror(errno));
      return;
    }
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == signals_.get()) {
        on_signals();
      } else if (fd == directory_.get()) {
        on_directory_change();
      } else {
        server_->handle(fd, events[i].events);
      }
    }
    tick();
  }
}

int Supervisor::timeout_ms() const {
  const Time at = std::min({now() + MetricPump::kDrainEvery, timeout_at_, kill_at_});
  return static_cast<int>(std::max<int64_t>(0, ((at - now()).us + 999) / 1000));
}

void Supervisor::tick() {
  if (auto batch = metrics_->pump(now())) {
    v1::JournalEntry entry;
    entry.mutable_metrics()->Swap(&*batch);
    record(std::move(entry));
  }
  if (!pending_.empty() && now() >= journal_retry_) flush_journal();
  if (now() >= timeout_at_ && running_) {
    timeout_at_ = Time::never();
    facts_.timed_out = true;
    facts_.timeout_s = attempt_.timeout_s();
    begin_stop(kDefaultGrace);
  }
  if (now() >= kill_at_) {
    kill_at_ = Time::never();
    log_info("supervisor", "gang " + attempt_.gang_id() + " did not end within its grace: killing it");
    if (Status status = containment_->kill_all(); !status.is_ok()) log_error("supervisor", status.to_string());
    reap();
  }
}

void Supervisor::on_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD || info.ssi_signo == SIGHUP) continue;
    facts_.interrupted = true;
    begin_stop(kDefaultGrace);
  }
  reap();
}

void Supervisor::on_directory_change() {
  alignas(inotify_event) char buffer[4096];
  while (::read(directory_.get(), buffer, sizeof buffer) > 0) {
  }
  if (facts_.stop_requested) return;
  v1::StopAttempt stop;
  Status status = read_message(files_.stop(), &stop);
  if (status.code() == Code::kNotFound) return;
  if (!status.is_ok()) log_error("supervisor", status.to_string());
  facts_.stop_requested = true;
  facts_.stop_reason = stop.reason();
  log_info("supervisor", "gang " + attempt_.gang_id() + " is to stop: " + stop.reason());
  CRASH_POINT("supervisor.stop.before_signal");
  begin_stop(Duration::millis(stop.grace_ms()));
}

void Supervisor::begin_stop(Duration grace) {
  // The child is ours and not reaped while running_, so its pid names its group and nothing else.
  if (running_) ::kill(-child_.pid, SIGTERM);
  kill_at_ = std::min(kill_at_, now() + grace);
}

void Supervisor::reap() {
  for (;;) {
    int status = 0;
    pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return;
    if (pid != child_.pid) continue;
    running_ = false;
    facts_.wait_status = status;
  }
}

void Supervisor::on_frame(const v1::RankFrame& frame) {
  v1::JournalEntry entry;
  switch (frame.frame_case()) {
    case v1::RankFrame::kHello:
      ranks_[frame.hello().rank()] = frame.hello().process();
      if (attempt_.ranks() > 1 && ranks_.size() == attempt_.ranks()) record_started();
      return;
    case v1::RankFrame::kMilestone:
      CRASH_POINT("supervisor.milestone.before_record");
      *entry.mutable_milestone() = frame.milestone();
      record(std::move(entry));
      CRASH_POINT("supervisor.milestone.after_record");
      return;
    case v1::RankFrame::kOutput:
      on_output(frame.output());
      return;
    case v1::RankFrame::kFailure:
      // The first to fail names the cause; the others mostly report that it is gone.
      if (facts_.failure.empty()) facts_.failure = frame.failure().message();
      log_warning("supervisor", "rank " + std::to_string(frame.failure().rank()) + ": " + frame.failure().message());
      return;
    case v1::RankFrame::FRAME_NOT_SET:
      return;
  }
}

void Supervisor::on_output(const v1::ProducedOutput& output) {
  // Only what is whole on disk is announced: nobody could fetch anything else later.
  auto manifest = check_artifact(output.path(), output.digest(), false);
  if (!manifest.is_ok()) {
    facts_.output_error = "its output \"" + output.name() + "\" is not whole: " + manifest.status().message();
    log_error("supervisor", facts_.output_error);
    return;
  }
  v1::JournalEntry entry;
  *entry.mutable_output() = output;
  CRASH_POINT("supervisor.output.before_record");
  if (entry.output().type().empty()) entry.mutable_output()->set_type(manifest->type());
  record(std::move(entry));
  CRASH_POINT("supervisor.output.after_record");
}

void Supervisor::seal_command_outputs() {
  for (const auto& declared : attempt_.command().step().outputs()) {
    const fs::path from = files_.work() / declared.name();
    std::error_code error;
    if (!is_artifact_file_name(declared.name()) || !fs::is_directory(from, error)) {
      facts_.output_error = "it left no directory \"" + declared.name() + "\" in $FRESHET_OUTPUT_DIR";
      return;
    }
    v1::ProducedOutput output;
    output.set_name(declared.name());
    output.set_type(declared.type().empty() ? "files" : declared.type());
    output.set_path((files_.output() / declared.name()).string());
    auto digest = seal_directory(from, output.path(), output.type());
    if (!digest.is_ok()) {
      facts_.output_error = "its output \"" + declared.name() + "\" cannot be kept: " + digest.status().message();
      return;
    }
    output.set_digest(*digest);
    v1::JournalEntry entry;
    *entry.mutable_output() = output;
    record(std::move(entry));
  }
}

void Supervisor::record(v1::JournalEntry entry) {
  pending_.push_back(std::move(entry));
  if (pending_.size() == 1 || now() >= journal_retry_) flush_journal();
}

bool Supervisor::flush_journal() {
  while (!pending_.empty()) {
    Status status;
    if (!journal_) {
      auto opened = JournalWriter::open(files_.journal(), clock_);
      status = opened.status();
      if (opened.is_ok()) journal_.emplace(std::move(*opened));
    }
    if (status.is_ok()) status = journal_->append(pending_.front());
    if (!status.is_ok()) {
      log_error("supervisor", "journal: " + status.to_string());
      journal_.reset();  // opening it again cuts off half an entry
      journal_retry_ = now() + kJournalRetry;
      std::erase_if(pending_, [](const v1::JournalEntry& entry) { return entry.has_metrics(); });
      return pending_.empty();
    }
    pending_.pop_front();
  }
  return true;
}

Status Supervisor::finish(v1::ExitRecord exit) {
  if (auto batch = metrics_->finish()) {
    v1::JournalEntry entry;
    entry.mutable_metrics()->Swap(&*batch);
    record(std::move(entry));
  }
  if (metrics_->lost() > 0) {
    log_warning("supervisor",
                std::to_string(metrics_->lost()) + " metric points were overwritten before they were read");
  }
  exit.set_time_us(clock_.now().us);
  v1::JournalEntry entry;
  *entry.mutable_exit() = exit;
  pending_.push_back(std::move(entry));
  CRASH_POINT("supervisor.exit.before_record");
  // Nothing announces that a full disk has room again, so this looks twice a second.
  for (const Time patience = now() + kJournalPatience; !flush_journal();) {
    if (now() > patience) return unavailable("the exit of gang " + attempt_.gang_id() + " could not be written");
    ::poll(nullptr, 0, static_cast<int>(kJournalRetry.us / 1000));
  }
  // The journal has the exit: what is left to do is done even when exit.pb cannot be written.
  CRASH_POINT("supervisor.exit.before_write");
  Status status = write_message(files_.exit(), exit);
  CRASH_POINT("supervisor.exit.after_write");
  log_info("supervisor", describe(attempt_.work(), attempt_.epoch()) +
                             " ended: " + v1::ExitRecord::Cause_Name(exit.cause()) + " " + exit.message());
  server_.reset();
  ::unlink(kSocketName);
  std::error_code ignored;
  if (!shared_memory_.empty()) fs::remove_all(shared_memory_, ignored);
  fs::remove_all(files_.temporary(), ignored);
  CRASH_POINT("supervisor.containment.before_removal");
  Status removed = containment_->remove();
  return status.is_ok() ? removed : status;
}

void Supervisor::tell_ready() {
  if (options_.ready_fd < 0) return;
  // The agent may have died meanwhile; that is no reason not to go on.
  CRASH_POINT("supervisor.ready.before_send");
  [[maybe_unused]] ssize_t written = ::write(options_.ready_fd, "ok\n", 3);
  CRASH_POINT("supervisor.ready.after_send");
  ::close(options_.ready_fd);
  options_.ready_fd = -1;
}

}  // namespace

Status supervise(const SupervisorOptions& options) { return Supervisor(options).run(); }

Status record_lost(const GangFiles& files, const std::string& gang_id, const std::string& message,
                   std::optional<uint64_t> keep_entries, const Clock& clock) {
  CRASH_POINT("lost.gang.before_kill");
  RETURN_IF_ERROR(kill_gang(gang_id));
  CRASH_POINT("lost.gang.after_kill");
  std::error_code ignored;
  fs::remove_all(shared_memory_of(gang_id), ignored);
  ASSIGN_OR_RETURN(JournalWriter journal, JournalWriter::open(files.journal(), clock));
  if (keep_entries && *keep_entries < journal.last()) RETURN_IF_ERROR(journal.truncate_after(*keep_entries));
  if (journal.has_exit()) return Status::ok();
  v1::JournalEntry entry;
  entry.mutable_exit()->set_cause(v1::ExitRecord::LOST);
  entry.mutable_exit()->set_message(message);
  entry.mutable_exit()->set_time_us(clock.now().us);
  const v1::ExitRecord exit = entry.exit();
  RETURN_IF_ERROR(journal.append(std::move(entry)));
  CRASH_POINT("lost.gang.before_exit_record");
  return write_message(files.exit(), exit);
}

}  // namespace freshet::agent
