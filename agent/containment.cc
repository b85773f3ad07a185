#include "agent/containment.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <sstream>
#include <utility>

#include "base/crash_point.h"
#include "base/log.h"
#include "base/process.h"
#include "base/time.h"

namespace freshet::agent {
namespace {

namespace fs = std::filesystem;

constexpr Duration kKillDeadline = Duration::seconds(10);

Time monotonic_now() { return SystemClock().monotonic(); }

int remaining_ms(Time deadline) {
  return static_cast<int>(std::max<int64_t>(0, (deadline - monotonic_now()).us / 1000));
}

Status write_text(const fs::path& path, const std::string& text) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.is_open()) return errno_status("open " + path.string(), errno);
  return write_all(fd.get(), text.data(), text.size()).with_context(path.string());
}

// The value behind `key` in a text of "key value" lines.
std::optional<uint64_t> value_of(const Result<std::string>& text, const std::string& key) {
  if (!text.is_ok()) return std::nullopt;
  std::istringstream lines(*text);
  std::string name;
  uint64_t value = 0;
  while (lines >> name >> value) {
    if (name == key) return value;
  }
  return std::nullopt;
}

// cgroup.kill ends everything below `group` at once, also what is being forked meanwhile. The kernel raises POLLPRI on
// cgroup.events when the last process has left.
Status kill_group(const fs::path& group) {
  const fs::path path = group / "cgroup.events";
  Fd events(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  // A supervisor that is just ending may take the group away; then nothing is in it.
  std::error_code ignored;
  auto unless_gone = [&](const Status& status) { return fs::exists(group, ignored) ? status : Status::ok(); };
  if (!events.is_open()) return unless_gone(errno_status("open " + path.string(), errno));
  const Time deadline = monotonic_now() + kKillDeadline;
  for (bool killed = false;;) {
    char text[256];
    ssize_t n = ::pread(events.get(), text, sizeof text, 0);
    if (n < 0) return unless_gone(errno_status("read " + path.string(), errno));
    if (value_of(std::string(text, static_cast<size_t>(n)), "populated").value_or(0) == 0) return Status::ok();
    if (!killed) {
      if (Status status = write_text(group / "cgroup.kill", "1"); !status.is_ok()) return unless_gone(status);
      killed = true;
    }
    pollfd changed{events.get(), POLLPRI, 0};
    const int wait_ms = remaining_ms(deadline);
    if (wait_ms == 0) return freshet::deadline("processes in " + group.string() + " do not end");
    if (::poll(&changed, 1, wait_ms) < 0 && errno != EINTR) return errno_status("poll " + path.string(), errno);
  }
}

// rmdir of the group and of the groups below it. The last process of a group leaves it a moment after it was reported
// empty, and nothing tells when: hence the only loop here that looks again after a pause.
Status remove_group(const fs::path& group) {
  std::error_code error;
  if (!fs::exists(group, error)) return Status::ok();
  for (const auto& entry : fs::directory_iterator(group, error)) {
    if (entry.is_directory(error)) RETURN_IF_ERROR(remove_group(entry.path()));
  }
  const Time deadline = monotonic_now() + Duration::seconds(1);
  while (::rmdir(group.c_str()) != 0) {
    if (errno == ENOENT) return Status::ok();
    if (errno != EBUSY || monotonic_now() > deadline) return errno_status("rmdir " + group.string(), errno);
    ::poll(nullptr, 0, 2);
  }
  return Status::ok();
}

// The groups of one gang; not made yet.
struct GangGroups {
  fs::path mount;  // of version 2
  fs::path group;
  std::optional<fs::path> pids;  // of version 1
};

std::optional<GangGroups> groups_of(const CgroupLayout& layout, const std::string& gang_id) {
  if (!layout.unified) return std::nullopt;
  GangGroups groups{*layout.unified, *layout.unified / "freshet" / gang_id, std::nullopt};
  if (layout.pids) groups.pids = *layout.pids / "freshet" / gang_id;
  return groups;
}

Status remove_groups(const GangGroups& groups) {
  Status status = groups.pids ? remove_group(*groups.pids) : Status::ok();
  RETURN_IF_ERROR(remove_group(groups.group));
  return status;
}

class CgroupContainment final : public Containment {
 public:
  CgroupContainment(std::string name, GangGroups groups, std::vector<Fd> procs, std::string previous)
      : name_(std::move(name)), groups_(std::move(groups)), procs_(std::move(procs)), previous_(std::move(previous)) {}

  std::string name() const override { return name_; }
  std::vector<int> procs_fds() const override {
    std::vector<int> fds;
    for (const Fd& fd : procs_) fds.push_back(fd.get());
    return fds;
  }
  Status kill_all() override { return kill_group(groups_.group / "ranks"); }
  std::optional<uint64_t> out_of_memory_kills() const override {
    return value_of(read_file(groups_.group / "ranks" / "memory.events"), "oom_kill");
  }
  Status remove() override {
    CRASH_POINT("supervisor.cgroup.before_leave");
    RETURN_IF_ERROR(write_text(previous_, "0"));
    CRASH_POINT("supervisor.cgroup.after_leave");
    return remove_groups(groups_);
  }

 private:
  std::string name_;
  GangGroups groups_;
  std::vector<Fd> procs_;
  std::string previous_;  // cgroup.procs of where the supervisor came from
};

Result<Fd> open_procs(const fs::path& group) {
  const fs::path path = group / "cgroup.procs";
  Fd procs(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!procs.is_open()) return errno_status("open " + path.string(), errno);
  return procs;
}

// Groups are the kernel's and on no disk, so unlike other directories they cannot be synced.
Status make_group(const fs::path& group) {
  std::error_code error;
  fs::create_directories(group, error);
  return error ? errno_status("mkdir " + group.string(), error.value()) : Status::ok();
}

// The limit that version 1 has for the gang. A machine may not let us have it; then the gang has none.
Result<Fd> make_pids_group(const fs::path& group, uint64_t processes_max) {
  RETURN_IF_ERROR(make_group(group));
  RETURN_IF_ERROR(write_text(group / "pids.max", std::to_string(processes_max)));
  return open_procs(group);
}

Result<std::unique_ptr<Containment>> make_cgroup(const std::string& gang_id, uint64_t processes_max,
                                                 const CgroupLayout& layout) {
  auto groups = groups_of(layout, gang_id);
  if (!groups) return unavailable("cgroup version 2 is not mounted");
  const auto& [mount, group, pids] = *groups;
  ASSIGN_OR_RETURN(std::string previous, process_cgroup(::getpid()));
  if (previous.empty()) return unavailable("this process is in no cgroup of version 2");
  RETURN_IF_ERROR(make_group(group / "supervisor"));
  RETURN_IF_ERROR(make_group(group / "ranks"));
  // Where a controller is on, the kernel counts out-of-memory kills and limits processes; often it is not ours to have.
  for (const char* controller : {"+memory", "+pids"}) {
    for (const fs::path& level : {mount, mount / "freshet", group}) {
      if (Status status = write_text(level / "cgroup.subtree_control", controller); !status.is_ok()) break;
    }
  }
  if (!fs::exists(group / "ranks" / "cgroup.kill")) return unavailable("this kernel has no cgroup.kill");
  CRASH_POINT("supervisor.cgroup.before_join");
  RETURN_IF_ERROR(write_text(group / "supervisor" / "cgroup.procs", "0"));
  CRASH_POINT("supervisor.cgroup.after_join");
  std::vector<Fd> procs;
  ASSIGN_OR_RETURN(Fd ranks, open_procs(group / "ranks"));
  procs.push_back(std::move(ranks));
  Status limited = write_text(group / "ranks" / "pids.max", std::to_string(processes_max));
  if (!limited.is_ok() && pids) {
    auto counted = make_pids_group(*pids, processes_max);
    limited = counted.status();
    if (counted.is_ok()) procs.push_back(std::move(*counted));
  }
  if (!limited.is_ok()) {
    log_info("supervisor", "no limit on the processes of gang " + gang_id + ": " + limited.message());
  }
  return std::unique_ptr<Containment>(std::make_unique<CgroupContainment>(
      layout.name(), *groups, std::move(procs), (mount / previous.substr(1) / "cgroup.procs").string()));
}

bool has_marker(pid_t pid, const std::string& marker) {
  auto environment = read_file("/proc/" + std::to_string(pid) + "/environ");
  if (!environment.is_ok()) return false;
  size_t at = 0;
  while ((at = environment->find(marker, at)) != std::string::npos) {
    const bool starts = at == 0 || (*environment)[at - 1] == '\0';
    const size_t end = at + marker.size();
    if (starts && (end == environment->size() || (*environment)[end] == '\0')) return true;
    at = end;
  }
  return false;
}

// The living processes of the gang: those with the marker, and those in the session of `root` or descended from it.
Result<std::vector<ProcessId>> find_marked(const std::string& gang_id, pid_t root, bool include_supervisor) {
  const std::string marker = std::string(kMarkerVariable) + "=" + gang_id;
  ASSIGN_OR_RETURN(std::string boot, boot_id());
  ASSIGN_OR_RETURN(auto pids, all_processes());
  std::vector<std::pair<pid_t, ProcessStat>> living;
  for (pid_t pid : pids) {
    auto stat = process_stat(pid);
    if (stat.is_ok() && stat->state != 'Z' && stat->state != 'X') living.emplace_back(pid, *stat);
  }
  std::set<pid_t> members;
  for (const auto& [pid, stat] : living) {
    if ((root != 0 && (stat.session == root || stat.parent == root)) || has_marker(pid, marker)) members.insert(pid);
  }
  for (bool grew = true; grew;) {
    grew = false;
    for (const auto& [pid, stat] : living) {
      if (members.contains(stat.parent)) grew |= members.insert(pid).second;
    }
  }
  std::vector<ProcessId> found;
  for (const auto& [pid, stat] : living) {
    if (!members.contains(pid) || pid == ::getpid() || (pid == root && !include_supervisor)) continue;
    found.push_back(ProcessId{pid, stat.start_ticks, boot, {}});
  }
  return found;
}

// A process may fork between the scan and its death, so only two empty scans in a row count.
Status kill_marked(const std::string& gang_id, pid_t root, bool include_supervisor) {
  const Time deadline = monotonic_now() + kKillDeadline;
  for (int empty_scans = 0; empty_scans < 2;) {
    ASSIGN_OR_RETURN(auto members, find_marked(gang_id, root, include_supervisor));
    empty_scans = members.empty() ? empty_scans + 1 : 0;
    std::vector<Fd> killed;
    for (const auto& member : members) {
      auto pidfd = open_process(member);
      if (!pidfd.is_ok()) continue;
      RETURN_IF_ERROR(send_signal(*pidfd, SIGKILL));
      killed.push_back(std::move(*pidfd));
    }
    for (const Fd& pidfd : killed) {
      pollfd ended{pidfd.get(), POLLIN, 0};
      if (::poll(&ended, 1, remaining_ms(deadline)) == 0) {
        return freshet::deadline("processes of gang " + gang_id + " do not end");
      }
    }
  }
  return Status::ok();
}

class SessionContainment final : public Containment {
 public:
  explicit SessionContainment(std::string gang_id) : gang_id_(std::move(gang_id)) {}
  std::string name() const override { return "session"; }
  std::vector<int> procs_fds() const override { return {}; }
  Status kill_all() override { return kill_marked(gang_id_, ::getpid(), false); }
  std::optional<uint64_t> out_of_memory_kills() const override { return std::nullopt; }
  Status remove() override { return Status::ok(); }

 private:
  std::string gang_id_;
};

}  // namespace

CgroupLayout read_cgroup_layout() {
  auto mountinfo = read_file("/proc/self/mountinfo");
  return mountinfo.is_ok() ? find_cgroups(*mountinfo) : CgroupLayout();
}

std::unique_ptr<Containment> make_containment(const std::string& gang_id, uint64_t processes_max,
                                              const CgroupLayout& layout) {
  auto cgroup = make_cgroup(gang_id, processes_max, layout);
  if (cgroup.is_ok()) return std::move(*cgroup);
  log_info("supervisor", "no cgroup for gang " + gang_id + " (" + cgroup.status().message() +
                             "): its session and the variable " + kMarkerVariable + " hold it together");
  if (auto groups = groups_of(layout, gang_id)) {
    // What was half made. It stays where it cannot be removed: the gang runs all the same.
    if (Status status = remove_groups(*groups); !status.is_ok()) log_warning("supervisor", status.to_string());
  }
  return std::make_unique<SessionContainment>(gang_id);
}

Status kill_gang(const std::string& gang_id) {
  auto groups = groups_of(read_cgroup_layout(), gang_id);
  std::error_code ignored;
  if (groups && fs::exists(groups->group, ignored)) RETURN_IF_ERROR(kill_group(groups->group));
  RETURN_IF_ERROR(kill_marked(gang_id, 0, true));
  return groups ? remove_groups(*groups) : Status::ok();
}

}  // namespace freshet::agent
