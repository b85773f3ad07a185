// Starting a gang's supervisor from the agent, so that it belongs to nobody: its own session, and a parent that is not
// the agent. May be called from any thread of the agent.
#pragma once

#include <filesystem>
#include <string>

#include "agent/gang_files.h"
#include "base/status.h"
#include "base/time.h"

namespace freshet::agent {

struct SupervisorProgram {
  std::filesystem::path executable =
      "/proc/self/exe";  // freshet-agent; this name also works once its file was replaced
  std::filesystem::path worker;
  std::filesystem::path mpirun;
  bool allow_cgroup = true;
  Duration start_deadline = Duration::seconds(10);
};

// Ok when the gang is under supervision, by the new process or by one that was there already. Otherwise the message has
// the last lines of supervisor.log, and the caller must use kill_gang() before it removes the directory.
Status start_supervisor(const SupervisorProgram& program, const GangFiles& files, const std::string& gang_id);

}  // namespace freshet::agent
