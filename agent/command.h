// A program to be run: the pure description, and running it. spawn() is called by the supervisor (one thread) and keeps
// to what is safe between fork and exec; the child gets no descriptor of ours but the three standard ones.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace freshet::agent {

struct Command {
  std::vector<std::string> argv;         // argv[0] without a slash is looked up in PATH
  std::vector<std::string> environment;  // "NAME=value", sorted by name: all of it, nothing is inherited
  std::filesystem::path working_directory;
};

struct SpawnFiles {
  std::filesystem::path stdout_log;  // appended to
  std::filesystem::path stderr_log;
  std::vector<int> cgroup_procs;  // Containment::procs_fds()
};

struct Child {
  pid_t pid = 0;
  Fd pidfd;
};

// Starts the command in a process group of its own, standard input from /dev/null. not_found or unavailable names the
// program and why it could not be executed; then no child is left.
Result<Child> spawn(const Command& command, const SpawnFiles& files);

}  // namespace freshet::agent
