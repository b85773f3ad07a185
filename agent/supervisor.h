// The supervisor of one gang: a small process of its own (`freshet-agent supervise`) that starts the ranks, listens to
// them, writes the journal and the exit record, and outlives agent and daemon. One thread around one epoll instance. It
// speaks to nobody but the ranks and the gang's directory; the agent asks it to stop by writing `stop.pb` there.
#pragma once

#include <filesystem>
#include <string>

#include "agent/gang_files.h"
#include "base/status.h"
#include "base/time.h"

namespace freshet::agent {

struct SupervisorOptions {
  std::filesystem::path gang_dir;
  std::filesystem::path worker;
  std::filesystem::path mpirun;
  int ready_fd = -1;         // gets "ok\n" once the gang is under supervision (also when it already was)
  bool allow_cgroup = true;  // false: as on a machine without cgroups of version 2
};

// Runs the gang to its end. Ok when the exit is on disk, or when another supervisor has the gang. Called once in the
// life of a process: it changes directory, session, signal mask and cgroup.
Status supervise(const SupervisorOptions& options);

// Writes the exit of a gang whose supervisor is dead: kills what is left of it and appends the exit entry and exit.pb.
// `keep_entries`: drop what follows that entry of the journal first (nullopt: keep all). Does nothing when the journal
// has an exit and nothing is to be dropped.
Status record_lost(const GangFiles& files, const std::string& gang_id, const std::string& message,
                   std::optional<uint64_t> keep_entries, const Clock& clock);

}  // namespace freshet::agent
