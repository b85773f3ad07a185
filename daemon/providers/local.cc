#include "daemon/providers/local.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <thread>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/log.h"
#include "proto/attempt.pb.h"
#include "proto/json.h"

extern char** environ;

namespace freshet {
namespace fs = std::filesystem;
namespace {

// What happens between fork and exec: only calls that are safe in a copy of a program with threads.
[[noreturn]] void run_agent_process(const char* program, char* const* argv, int null, int log, int report) {
  int failed = 0;
  do {
    sigset_t none;
    ::sigemptyset(&none);
    if (::dup2(null, 0) < 0 || ::dup2(log, 1) < 0 || ::dup2(log, 2) < 0) break;
    // The daemon's sockets must close with the daemon, also those whose library does not mark them.
    if (::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) break;
    if (::sigprocmask(SIG_SETMASK, &none, nullptr) != 0) break;
    CRASH_POINT("provider.agent.before_exec");
    ::execve(program, argv, environ);
  } while (false);
  failed = errno;
  [[maybe_unused]] ssize_t written = ::write(report, &failed, sizeof failed);
  ::_exit(127);
}

std::string find_in_path(const std::string& name) {
  const char* variable = std::getenv("PATH");
  const std::string path = variable != nullptr ? variable : "/usr/local/bin:/usr/bin:/bin";
  for (size_t at = 0; at <= path.size();) {
    size_t end = std::min(path.find(':', at), path.size());
    const std::string candidate = path.substr(at, end - at) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    at = end + 1;
  }
  // The agent names this path when a gang of several ranks cannot start; gangs of one need no mpirun.
  return "/usr/bin/" + name;
}

}  // namespace

std::vector<std::string> build_local_agent_command(const LocalAgentConfig& config) {
  std::vector<std::string> words = {config.agent.string(),
                                    "run",
                                    "--daemon-file",
                                    config.address_file.string(),
                                    "--token-file",
                                    config.token_file.string(),
                                    "--dir",
                                    config.agent_dir.string(),
                                    "--name",
                                    config.node,
                                    "--slots",
                                    std::to_string(config.slots),
                                    "--worker",
                                    config.worker.string(),
                                    "--mpirun",
                                    config.mpirun.string()};
  if (!config.products.empty()) words.insert(words.end(), {"--products", config.products.string()});
  return words;
}

Result<std::optional<ProcessId>> LocalProvider::find() const {
  const fs::path path = config_.agent_dir / "agent.pid.json";
  auto text = read_file(path);
  if (text.status().code() == Code::kNotFound) return std::optional<ProcessId>();
  RETURN_IF_ERROR(text.status());
  v1::Process proto;
  RETURN_IF_ERROR(from_json(*text, &proto).with_context(path.string()));
  ProcessId process{static_cast<pid_t>(proto.pid()), proto.start_ticks(), proto.boot_id(), proto.cgroup()};
  if (!is_running(process)) return std::optional<ProcessId>();
  return std::optional<ProcessId>(std::move(process));
}

Status LocalProvider::ensure_running() {
  ASSIGN_OR_RETURN(auto running, find());
  if (running) {
    log_info("provider", "the local agent runs as process " + std::to_string(running->pid));
    return Status::ok();
  }
  return start();
}

Status LocalProvider::start() {
  RETURN_IF_ERROR(make_directories(config_.agent_dir));
  const fs::path log_path = config_.agent_dir / "agent.log";
  Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  Fd log(::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!null.is_open() || !log.is_open()) return errno_status("open " + log_path.string(), errno);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_status("pipe", errno);
  Fd report_read(ends[0]);
  Fd report_write(ends[1]);
  const auto command = build_local_agent_command(config_);
  std::vector<char*> argv;
  for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);

  // Forked twice: the agent gets a session of its own and is nobody's child who would have to wait for it.
  CRASH_POINT("provider.agent.before_fork");
  pid_t child = ::fork();
  if (child < 0) return errno_status("fork", errno);
  if (child == 0) {
    ::setsid();
    pid_t grandchild = ::fork();
    if (grandchild == 0) run_agent_process(argv[0], argv.data(), null.get(), log.get(), report_write.get());
    ::_exit(grandchild < 0 ? 1 : 0);
  }
  report_write.reset();
  CRASH_POINT("provider.agent.after_fork");
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return unavailable("the local agent could not be forked");
  int failed = 0;
  ssize_t n = 0;
  while ((n = ::read(report_read.get(), &failed, sizeof failed)) < 0 && errno == EINTR) {
  }
  if (n == sizeof failed) return errno_status("cannot start " + config_.agent.string(), failed);
  CRASH_POINT("provider.agent.after_exec");
  log_info("provider", "started the local agent, log in " + log_path.string());
  return Status::ok();
}

Status LocalProvider::stop(Duration grace) {
  ASSIGN_OR_RETURN(auto running, find());
  if (!running) return Status::ok();
  auto pidfd = open_process(*running);
  if (!pidfd.is_ok()) return Status::ok();
  RETURN_IF_ERROR(send_signal(*pidfd, SIGTERM));
  pollfd ended{pidfd->get(), POLLIN, 0};
  if (::poll(&ended, 1, static_cast<int>(grace.us / 1000)) > 0) return Status::ok();
  log_warning("provider", "the local agent did not end in time: killing it");
  RETURN_IF_ERROR(send_signal(*pidfd, SIGKILL));
  constexpr int kKilledMs = 10'000;
  if (::poll(&ended, 1, kKilledMs) <= 0) return deadline("the local agent does not end");
  return Status::ok();
}

Result<LocalAgentConfig> local_agent_config(const fs::path& data_dir, uint32_t slots, const fs::path& products) {
  std::error_code error;
  const fs::path programs = fs::read_symlink("/proc/self/exe", error).parent_path();
  if (error) return errno_status("read /proc/self/exe", error.value());
  char name[HOST_NAME_MAX + 1] = {};
  if (::gethostname(name, sizeof name - 1) != 0) return errno_status("gethostname", errno);
  const fs::path data = fs::absolute(data_dir, error);
  if (error) return errno_status("resolve " + data_dir.string(), error.value());
  LocalAgentConfig config;
  config.agent = programs / "freshet-agent";
  config.worker = programs / "freshet-worker";
  config.mpirun = find_in_path("mpirun");
  config.agent_dir = data / "agent";
  config.address_file = data / "address";
  config.token_file = data / "admin.token";
  config.node = name;
  config.slots = slots > 0 ? slots : std::max(1U, std::thread::hardware_concurrency());
  config.products = products;
  return config;
}

Result<LocalProvider> ensure_local_agent(const fs::path& data_dir, const std::string& url, uint32_t slots,
                                         const fs::path& products) {
  ASSIGN_OR_RETURN(LocalAgentConfig config, local_agent_config(data_dir, slots, products));
  ASSIGN_OR_RETURN(std::string address, read_file(config.address_file));
  if (address != url + "\n") return internal(config.address_file.string() + " does not hold " + url);
  LocalProvider provider(std::move(config));
  RETURN_IF_ERROR(provider.ensure_running());
  return provider;
}

}  // namespace freshet
