// up: starts freshetd from beside this program.
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <filesystem>
#include <ostream>

#include "base/file.h"
#include "base/process.h"
#include "cli/commands/commands.h"
#include "net/http_client.h"

extern char** environ;

namespace freshet::cli {
namespace {

namespace fs = std::filesystem;

constexpr Duration kReadyMax = Duration::seconds(60);
constexpr int kLookEveryMs = 50;
constexpr size_t kLogTailBytes = 2000;

struct UpOptions {
  std::string listen;
  std::string slots;
  std::string config;
  std::string log_level;
  std::string daemon;
  bool no_local_agent = false;
  bool detach = false;
};

std::vector<std::string> arguments(const UpOptions& options, const std::string& daemon, const std::string& data_dir) {
  std::vector<std::string> words = {daemon, "--data-dir", data_dir};
  auto add = [&words](const char* name, const std::string& value) {
    if (!value.empty()) words.insert(words.end(), {name, value});
  };
  add("--listen", options.listen);
  add("--local-slots", options.slots);
  add("--config", options.config);
  add("--log-level", options.log_level);
  if (options.no_local_agent) words.push_back("--no-local-agent");
  return words;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return argv;
}

// The daemon's address when it answers that it is ready, or that its disk is full, which it says to those who ask for
// more; else empty.
std::string ready_address(const std::string& data_dir) {
  auto address = read_file(data_dir + "/address");
  if (!address.is_ok()) return "";
  const std::string server = address->substr(0, address->find_first_of("\r\n"));
  net::HttpClientOptions options;
  options.connect_timeout = Duration::seconds(1);
  options.request_timeout = Duration::seconds(2);
  net::HttpClient client(options);
  net::HttpRequest request;
  request.url = server + "/readyz";
  auto response = client.request(request);
  const bool serves = response.is_ok() && (response->is_ok() || response->status == 507);
  return serves ? server : "";
}

std::string tail(const std::string& file) {
  auto text = read_file(file);
  if (!text.is_ok()) return "";
  return text->size() > kLogTailBytes ? text->substr(text->size() - kLogTailBytes) : *text;
}

Result<pid_t> start_detached(std::vector<std::string> words, const std::string& log) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  pid_t pid = 0;
  auto argv = pointers(words);
  const int error = ::posix_spawn(&pid, argv[0], &files, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return errno_status("start " + words[0], error);
  return pid;
}

Status ended(pid_t pid, const std::string& log) {
  int state = 0;
  ::waitpid(pid, &state, 0);
  const std::string how =
      WIFEXITED(state) ? "with code " + std::to_string(WEXITSTATUS(state)) : "by " + signal_name(WTERMSIG(state));
  return internal("freshetd ended " + how + ". The end of " + log + ":\n" + tail(log));
}

// Waits until the daemon is ready or has ended, whichever is first.
Result<std::string> wait_until_ready(Session& session, pid_t pid, const std::string& data_dir, const std::string& log) {
  auto id = identify(pid);
  if (!id.is_ok()) return ended(pid, log);
  auto process = open_process(*id);
  if (!process.is_ok()) return ended(pid, log);
  const Time begin = session.env.clock.monotonic();
  while (session.env.clock.monotonic() - begin < kReadyMax) {
    pollfd waiter{process->get(), POLLIN, 0};
    const int ready = ::poll(&waiter, 1, kLookEveryMs);
    if (ready < 0 && errno != EINTR) return errno_status("poll", errno);
    if (ready > 0) return ended(pid, log);
    std::string address = ready_address(data_dir);
    if (!address.empty()) return address;
  }
  return deadline("freshetd (pid " + std::to_string(pid) + ") is not ready after " +
                  std::to_string(kReadyMax.us / 1'000'000) + " seconds; its log is " + log);
}

Result<int> up(Session& session, const UpOptions& options) {
  ASSIGN_OR_RETURN(std::string data_dir, data_dir_of(session));
  std::error_code error;
  data_dir = fs::absolute(data_dir, error).string();
  const std::string running = ready_address(data_dir);
  if (!running.empty()) {
    session.env.out << "freshetd already serves " << data_dir << " at " << running << "\n" << std::flush;
    return kExitOk;
  }
  std::string daemon = options.daemon;
  if (daemon.empty()) {
    auto beside = find_daemon();
    if (!beside.is_ok()) return not_found(beside.status().message() + "; say where it is with --daemon");
    daemon = *beside;
  }
  std::vector<std::string> words = arguments(options, daemon, data_dir);
  if (!options.detach) {
    session.env.out << std::flush;
    return become(std::move(words));
  }
  RETURN_IF_ERROR(make_directories(data_dir));
  const std::string log = data_dir + "/freshetd.log";
  ASSIGN_OR_RETURN(pid_t pid, start_detached(words, log));
  ASSIGN_OR_RETURN(std::string address, wait_until_ready(session, pid, data_dir, log));
  session.env.out << "freshetd serves " << data_dir << " at " << address << " (pid " << pid << ", log " << log << ")\n"
                  << std::flush;
  return kExitOk;
}

}  // namespace

Result<std::string> find_daemon() {
  std::error_code error;
  const fs::path own = fs::read_symlink("/proc/self/exe", error);
  if (error) return errno_status("read /proc/self/exe", error.value());
  const fs::path daemon = own.parent_path() / "freshetd";
  if (::access(daemon.c_str(), X_OK) == 0) return daemon.string();
  return not_found("there is no freshetd beside " + own.string());
}

Status become(std::vector<std::string> words) {
  ::execv(words[0].c_str(), pointers(words).data());
  return errno_status("start " + words[0], errno);
}

void add_up(CLI::App& app, Session& session) {
  auto options = std::make_shared<UpOptions>();
  CLI::App* command = app.add_subcommand("up", "Start the daemon, with an agent on this machine");
  command->add_flag("-d,--detach", options->detach, "return when it is ready and leave it running");
  command
      ->add_option("--listen", options->listen, "address of the API (default 127.0.0.1:7070; port 0 takes a free one)")
      ->type_name("HOST:PORT");
  command->add_option("--slots", options->slots, "CPU slots of this machine (default: its cores)")->type_name("N");
  command->add_option("--config", options->config, "file with the daemon's configuration")->type_name("PATH");
  command->add_option("--log-level", options->log_level, "debug, info, warning or error")->type_name("LEVEL");
  command->add_flag("--no-local-agent", options->no_local_agent, "run nothing on this machine");
  command->add_option("--daemon", options->daemon, "the program freshetd (default: the one beside this program)")
      ->type_name("PATH");
  command->footer(examples({"freshet up", "freshet up --detach --data-dir /srv/freshet --listen 127.0.0.1:0"}));
  session.on(command, [&session, options] { return up(session, *options); });
}

}  // namespace freshet::cli
