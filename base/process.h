// Who a process is. A pid alone is reused by the kernel, so identity is (boot id, pid, start ticks, cgroup); signals go
// through a pidfd that is checked against it. Reads /proc; any thread. Does not start processes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace freshet {

struct ProcessId {
  pid_t pid = 0;
  uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat
  std::string boot_id;
  std::string cgroup;  // process_cgroup(); empty: it is in none, or not known, and says nothing

  bool operator==(const ProcessId&) const = default;
};

// The id of this boot of the machine, without the newline.
Result<std::string> boot_id();

// What /proc/PID/stat says. not_found when there is no such process; a zombie is still there (state 'Z').
struct ProcessStat {
  char state = 0;
  pid_t parent = 0;
  pid_t session = 0;
  uint64_t start_ticks = 0;
};
Result<ProcessStat> process_stat(pid_t pid);

// Where the process is in the tree of version 2, as "/freshet/4f../ranks"; empty when the machine has no such tree.
Result<std::string> process_cgroup(pid_t pid);

// The identity of a living process.
Result<ProcessId> identify(pid_t pid);

// Every pid below /proc, in no order. A process may be gone by the time it is looked at.
Result<std::vector<pid_t>> all_processes();

// A pidfd of exactly this process, readable when it ends. not_found when it has ended (also as a zombie), when the
// machine was started again since, or when the process is in another cgroup.
Result<Fd> open_process(const ProcessId& process);

bool is_running(const ProcessId& process);

// Sends through the pidfd; a process that has just ended is no error.
Status send_signal(const Fd& pidfd, int signal);

// "SIGSEGV" or "signal 77".
std::string signal_name(int signal);

}  // namespace freshet
