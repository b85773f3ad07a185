// What holds a gang's processes together, so that all of them can be killed however they were started. Either a cgroup
// of version 2 (`freshet/GANG` with a leaf for the supervisor and one for the ranks; with a group of version 1 that
// limits processes where the machine is hybrid), or, where none can be made, the supervisor's session and descendants
// plus a marker variable in the environment. The supervisor makes it; the agent uses kill_gang() when the supervisor is
// dead. Blocking; one thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/cgroup_layout.h"
#include "base/file.h"
#include "base/status.h"

namespace freshet::agent {

// The marker: every process of a gang has FRESHET_GANG=<gang id> in its environment.
constexpr const char* kMarkerVariable = "FRESHET_GANG";

class Containment {
 public:
  virtual ~Containment() = default;

  // "cgroup2", "cgroup2-hybrid" or "session", as GangStarted says it.
  virtual std::string name() const = 0;
  // Descriptors of the ranks' cgroup.procs, into each of which a new child writes "0" before it executes.
  virtual std::vector<int> procs_fds() const = 0;
  // Ends every process of the gang but the caller with SIGKILL, again until none is left. deadline when some remain.
  virtual Status kill_all() = 0;
  // Processes that the kernel has killed in here for want of memory; nullopt when nobody counts.
  virtual std::optional<uint64_t> out_of_memory_kills() const = 0;
  // Takes the containment away; the gang is empty and the caller leaves it.
  virtual Status remove() = 0;
};

// Moves the calling process (the supervisor) into the gang's containment. `processes_max`: how many processes and
// threads the ranks may have, where something counts them, so that a job that forks for ever hinders only itself.
// `layout` of a machine without version 2: held by its session.
std::unique_ptr<Containment> make_containment(const std::string& gang_id, uint64_t processes_max,
                                              const CgroupLayout& layout);

// Kills what is left of a gang whose supervisor is dead (the supervisor too if it is not) and removes its cgroups. Also
// finds what has left its cgroup.
Status kill_gang(const std::string& gang_id);

// Of this machine; empty when it cannot be read.
CgroupLayout read_cgroup_layout();

}  // namespace freshet::agent
