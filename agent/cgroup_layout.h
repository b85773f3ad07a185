// Which control groups this machine has, read from the text of /proc/self/mountinfo. Version 2 may be the only one, or
// stand beside version 1 and its controllers (hybrid), or be missing. Pure; any thread. Makes no group.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace freshet::agent {

struct CgroupLayout {
  // Where version 2 is mounted; nullopt: nowhere, so gangs are held by their session.
  std::optional<std::filesystem::path> unified;
  // Where the process counter of version 1 is mounted.
  std::optional<std::filesystem::path> pids;
  // Controllers of version 1 are in use. The tree of version 2 then kills and counts, but limits nothing.
  bool is_hybrid = false;

  // What a gang held by `unified` has in its record: "cgroup2" or "cgroup2-hybrid".
  std::string name() const { return is_hybrid ? "cgroup2-hybrid" : "cgroup2"; }
};

CgroupLayout find_cgroups(const std::string& mountinfo);

}  // namespace freshet::agent
