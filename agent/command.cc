#include "agent/command.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/crash_point.h"

namespace freshet::agent {
namespace {

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (const auto& text : strings) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

// argv[0] as the shell would find it, from the command's own PATH; itself when it is found nowhere.
std::string resolve_program(const Command& command) {
  const std::string& name = command.argv[0];
  if (name.find('/') != std::string::npos) return name;
  std::string path = "/usr/local/bin:/usr/bin:/bin";
  for (const auto& variable : command.environment) {
    if (variable.starts_with("PATH=")) path = variable.substr(5);
  }
  for (size_t at = 0; at <= path.size();) {
    size_t end = std::min(path.find(':', at), path.size());
    std::string candidate = path.substr(at, end - at) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    at = end + 1;
  }
  return name;
}

Result<Fd> open_log(const std::filesystem::path& path) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd.is_open()) return errno_status("open " + path.string(), errno);
  return fd;
}

// Everything the child does between fork and exec. Only async-signal-safe calls; what failed goes into `report`.
struct ChildPlan {
  const char* program;
  char* const* argv;
  char* const* environment;
  const char* directory;
  const std::vector<int>& cgroups;
  int null, out, err, report;
};

[[noreturn]] void run_child(const ChildPlan& plan) {
  int failed = 0;
  do {
    bool is_contained = true;
    for (int cgroup : plan.cgroups) is_contained = is_contained && ::write(cgroup, "0", 1) == 1;
    if (!is_contained) break;
    if (::setpgid(0, 0) != 0) break;
    if (::dup2(plan.null, 0) < 0 || ::dup2(plan.out, 1) < 0 || ::dup2(plan.err, 2) < 0) break;
    if (plan.directory[0] != '\0' && ::chdir(plan.directory) != 0) break;
    struct sigaction standard{};
    standard.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &standard, nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    if (::sigprocmask(SIG_SETMASK, &none, nullptr) != 0) break;
    CRASH_POINT("supervisor.ranks.before_exec");
    ::execve(plan.program, plan.argv, plan.environment);
  } while (false);
  failed = errno;
  [[maybe_unused]] ssize_t written = ::write(plan.report, &failed, sizeof failed);
  ::_exit(127);
}

}  // namespace

Result<Child> spawn(const Command& command, const SpawnFiles& files) {
  CHECK(!command.argv.empty());
  Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null.is_open()) return errno_status("open /dev/null", errno);
  ASSIGN_OR_RETURN(Fd out, open_log(files.stdout_log));
  ASSIGN_OR_RETURN(Fd err, open_log(files.stderr_log));
  int report[2];
  if (::pipe2(report, O_CLOEXEC) != 0) return errno_status("pipe", errno);
  Fd report_read(report[0]);
  Fd report_write(report[1]);
  const std::string program = resolve_program(command);
  auto argv = pointers(command.argv);
  auto environment = pointers(command.environment);
  const ChildPlan plan{program.c_str(),    argv.data(), environment.data(), command.working_directory.c_str(),
                       files.cgroup_procs, null.get(),  out.get(),          err.get(),
                       report_write.get()};

  Child child;
  child.pid = ::fork();
  if (child.pid < 0) return errno_status("fork", errno);
  if (child.pid == 0) run_child(plan);
  report_write.reset();
  int failed = 0;
  ssize_t n = 0;
  // The pipe closes at a successful exec; before that the child says what went wrong.
  while ((n = ::read(report_read.get(), &failed, sizeof failed)) < 0 && errno == EINTR) {
  }
  if (n == sizeof failed) {
    while (::waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return errno_status("cannot start " + command.argv[0], failed);
  }
  child.pidfd = Fd(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0)));
  if (!child.pidfd.is_open()) {
    Status status = errno_status("pidfd_open", errno);
    ::kill(child.pid, SIGKILL);  // not reaped yet, so the pid is still its own
    ::waitpid(child.pid, nullptr, 0);
    return status;
  }
  return child;
}

}  // namespace freshet::agent
