#include "base/process.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <memory>
#include <sstream>

namespace freshet {
namespace {

// glibc wraps these only from 2.36 on, and only for C++ from 2.37.
int pidfd_open(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

int pidfd_send_signal(int pidfd, int signal) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

}  // namespace

Result<std::string> boot_id() {
  ASSIGN_OR_RETURN(std::string text, read_file("/proc/sys/kernel/random/boot_id"));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Result<ProcessStat> process_stat(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  auto text = read_file(path);
  // A process that ends between open and read gives ESRCH.
  if (!text.is_ok()) return not_found("no process " + std::to_string(pid) + ": " + text.status().message());
  // The second field is the program's name in parentheses and may hold anything: the fields start behind the last one.
  size_t close = text->rfind(')');
  if (close == std::string::npos) return corrupt(path + " has no program name: \"" + *text + "\"");
  std::istringstream fields(text->substr(close + 1));
  ProcessStat stat;
  std::string skipped;
  fields >> stat.state >> stat.parent >> skipped >> stat.session;
  for (int field = 7; field <= 21; ++field) fields >> skipped;
  fields >> stat.start_ticks;
  if (!fields) return corrupt(path + " has too few fields: \"" + *text + "\"");
  return stat;
}

Result<std::string> process_cgroup(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/cgroup";
  auto text = read_file(path);
  if (!text.is_ok()) return not_found("no process " + std::to_string(pid) + ": " + text.status().message());
  // Lines of "9:name=systemd:/", one for each hierarchy; that of version 2 has number 0 and no name.
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("0::")) return line.substr(3);
  }
  return std::string();
}

Result<ProcessId> identify(pid_t pid) {
  ASSIGN_OR_RETURN(ProcessStat stat, process_stat(pid));
  ProcessId process{pid, stat.start_ticks, {}, {}};
  ASSIGN_OR_RETURN(process.cgroup, process_cgroup(pid));
  ASSIGN_OR_RETURN(process.boot_id, boot_id());
  return process;
}

Result<std::vector<pid_t>> all_processes() {
  std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc"), ::closedir);
  if (!directory) return errno_status("open /proc", errno);
  std::vector<pid_t> pids;
  while (const dirent* entry = ::readdir(directory.get())) {
    pid_t pid = 0;
    const char* end = entry->d_name + ::strlen(entry->d_name);
    auto [parsed, error] = std::from_chars(entry->d_name, end, pid);
    if (error == std::errc() && parsed == end) pids.push_back(pid);
  }
  return pids;
}

Result<Fd> open_process(const ProcessId& process) {
  ASSIGN_OR_RETURN(std::string current_boot, boot_id());
  const std::string name = "process " + std::to_string(process.pid);
  if (current_boot != process.boot_id) return not_found(name + " ran before the machine was started again");
  Fd pidfd(pidfd_open(process.pid));
  if (!pidfd.is_open()) {
    return errno == ESRCH ? not_found(name + " has ended") : errno_status("pidfd_open of " + name, errno);
  }
  // Checked after the open: from here on the pid cannot come to mean another process.
  auto stat = process_stat(process.pid);
  if (!stat.is_ok() || stat->start_ticks != process.start_ticks) return not_found(name + " has ended");
  pollfd ended{pidfd.get(), POLLIN, 0};
  if (::poll(&ended, 1, 0) > 0) return not_found(name + " has ended");
  if (!process.cgroup.empty()) {
    auto cgroup = process_cgroup(process.pid);
    if (!cgroup.is_ok() || *cgroup != process.cgroup) {
      return not_found(name + " is not the one that ran in cgroup " + process.cgroup);
    }
  }
  return pidfd;
}

bool is_running(const ProcessId& process) { return open_process(process).is_ok(); }

Status send_signal(const Fd& pidfd, int signal) {
  if (pidfd_send_signal(pidfd.get(), signal) != 0 && errno != ESRCH) return errno_status("pidfd_send_signal", errno);
  return Status::ok();
}

std::string signal_name(int signal) {
  const char* abbreviation = ::sigabbrev_np(signal);
  if (abbreviation == nullptr) return "signal " + std::to_string(signal);
  return std::string("SIG") + abbreviation;
}

}  // namespace freshet
