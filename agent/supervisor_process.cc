#include "agent/supervisor_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "agent/containment.h"
#include "agent/exit_report.h"
#include "agent/text.h"
#include "base/crash_point.h"
#include "base/file.h"

extern char** environ;

namespace freshet::agent {
namespace {

constexpr int kReadyFd = 3;

// What happens between fork and exec: only calls that are safe in a copy of a program with threads.
[[noreturn]] void run_grandchild(const char* program, char* const* argv, char* const* environment, int null, int log,
                                 int ready) {
  sigset_t none;
  ::sigemptyset(&none);
  // The log may be descriptor 3 itself: it has moved before `ready` takes that number.
  bool ok = ::dup2(null, 0) >= 0 && ::dup2(log, 1) >= 0 && ::dup2(log, 2) >= 0;
  if (ok && ready == kReadyFd) {
    ok = ::fcntl(ready, F_SETFD, 0) == 0;
  } else if (ok) {
    ok = ::dup2(ready, kReadyFd) >= 0;
  }
  // The agent's sockets must close with the agent, also those whose library does not mark them.
  ok = ok && ::close_range(kReadyFd + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
  CRASH_POINT("agent.supervisor.before_exec");
  if (ok && ::sigprocmask(SIG_SETMASK, &none, nullptr) == 0) ::execve(program, argv, environment);
  static const char kMessage[] = "freshet-agent: cannot execute the supervisor\n";
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
  ::_exit(127);
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (const auto& text : strings) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

Status failed_start(const GangFiles& files, const std::string& what) {
  auto text = read_file(files.supervisor_log());
  std::string tail = text.is_ok() ? valid_utf8(last_lines(*text, 3, 1000)) : std::string();
  return unavailable("the supervisor " + what + (tail.empty() ? "" : ": " + tail));
}

Status await_ready(int fd, const GangFiles& files, Duration limit) {
  const SystemClock clock;
  const Time deadline = clock.monotonic() + limit;
  std::string said;
  for (;;) {
    pollfd readable{fd, POLLIN, 0};
    const int64_t remaining_us = (deadline - clock.monotonic()).us;
    if (remaining_us <= 0) return failed_start(files, "did not get ready in time");
    int ready = ::poll(&readable, 1, static_cast<int>(remaining_us / 1000) + 1);
    if (ready < 0 && errno != EINTR) return errno_status("poll", errno);
    if (ready <= 0) continue;
    char buffer[16];
    ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed_start(files, "ended before it was ready");
    said.append(buffer, static_cast<size_t>(n));
    if (said == "ok\n") return Status::ok();
  }
}

}  // namespace

Status start_supervisor(const SupervisorProgram& program, const GangFiles& files, const std::string& gang_id) {
  std::vector<std::string> argv = {"freshet-agent", "supervise",
                                   "--dir",         files.dir.string(),
                                   "--worker",      program.worker.string(),
                                   "--mpirun",      program.mpirun.string(),
                                   "--ready-fd",    std::to_string(kReadyFd)};
  if (!program.allow_cgroup) argv.push_back("--no-cgroup");
  std::vector<std::string> environment;
  const std::string marker = std::string(kMarkerVariable) + "=";
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!std::string_view(*variable).starts_with(marker)) environment.emplace_back(*variable);
  }
  environment.push_back(marker + gang_id);

  Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  Fd log(::open(files.supervisor_log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!null.is_open() || !log.is_open()) return errno_status("open " + files.supervisor_log().string(), errno);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_status("pipe", errno);
  Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  auto argv_pointers = pointers(argv);
  auto environment_pointers = pointers(environment);

  CRASH_POINT("agent.supervisor.before_fork");
  pid_t child = ::fork();
  if (child < 0) return errno_status("fork", errno);
  if (child == 0) {
    ::setsid();
    CRASH_POINT("agent.supervisor.between_forks");
    pid_t grandchild = ::fork();
    if (grandchild == 0) {
      run_grandchild(program.executable.c_str(), argv_pointers.data(), environment_pointers.data(), null.get(),
                     log.get(), write_end.get());
    }
    ::_exit(grandchild < 0 ? 1 : 0);
  }
  write_end.reset();
  CRASH_POINT("agent.supervisor.after_fork");
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return unavailable("the supervisor could not be forked");
  return await_ready(read_end.get(), files, program.start_deadline);
}

}  // namespace freshet::agent
