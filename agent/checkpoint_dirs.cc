#include "agent/checkpoint_dirs.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "agent/gang_files.h"
#include "base/crash_point.h"
#include "base/sha256.h"

namespace freshet::agent {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMemory = "/dev/shm";

// What stays of work that no gang is at.
struct Stay {
  Duration time;
  size_t count = 0;
};
constexpr Stay kOnDisk{Duration::seconds(24 * 3600), 4}, kInMemory{Duration::seconds(3600), 1};

std::string name_of(const v1::WorkRef& work) { return work.run_id() + "." + work.step(); }

fs::path root_on_disk(const fs::path& agent_dir) { return agent_dir / "checkpoints"; }
fs::path root_in_memory(const fs::path& agent_dir) {
  constexpr size_t kDigits = 16;
  const std::string digest = Sha256::hex_of(fs::absolute(agent_dir).lexically_normal().string());
  return fs::path(kMemory) / ("freshet-checkpoints-" + digest.substr(0, kDigits));
}

// Renamed first: what is half removed must not be gone on from.
Status remove_directory(const fs::path& path) {
  const fs::path gone = path.parent_path() / (kGonePrefix + path.filename().string());
  std::error_code error;
  fs::remove_all(gone, error);
  if (!error) fs::rename(path, gone, error);
  if (error == std::errc::no_such_file_or_directory) return Status::ok();
  CRASH_POINT("agent.checkpoints.before_removal");
  if (!error) fs::remove_all(gone, error);
  return error ? errno_status("remove " + path.string(), error.value()) : Status::ok();
}

struct Found {
  int64_t changed_us = 0;
  fs::path path;
};

// The one in memory is in a place for everybody.
void remove_if_empty(const fs::path& root) {
  std::error_code ignored;
  fs::remove(root, ignored);
}

Status remove_old(const fs::path& root, const std::set<std::string>& used, const Stay& stay, Time now) {
  std::error_code error;
  std::vector<Found> unused;
  if (!fs::exists(root, error)) return Status::ok();
  std::vector<fs::path> gone;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(kGonePrefix)) {
      gone.push_back(entry.path());
    } else if (!used.contains(name)) {
      struct stat status{};
      if (::stat(entry.path().c_str(), &status) != 0) continue;  // its gang has just removed it
      unused.push_back({status.st_mtim.tv_sec * 1'000'000 + status.st_mtim.tv_nsec / 1000, entry.path()});
    }
  }
  if (error) return errno_status("list " + root.string(), error.value());
  for (const auto& path : gone) fs::remove_all(path, error);
  if (error) return errno_status("remove what is left in " + root.string(), error.value());
  std::sort(unused.begin(), unused.end(), [](const Found& a, const Found& b) { return a.changed_us > b.changed_us; });
  for (size_t i = 0; i < unused.size(); ++i) {
    if (i < stay.count && now.us - unused[i].changed_us < stay.time.us) continue;
    RETURN_IF_ERROR(remove_directory(unused[i].path));
  }
  return Status::ok();
}

}  // namespace

fs::path checkpoint_dir(const fs::path& agent_dir, const v1::WorkRef& work) {
  return root_on_disk(agent_dir) / name_of(work);
}

Result<fs::path> make_checkpoint_memory_dir(const fs::path& agent_dir, const v1::WorkRef& work) {
  struct statfs system{};
  if (::statfs(kMemory, &system) != 0 || system.f_type != TMPFS_MAGIC) {
    return unavailable(std::string(kMemory) + " is no tmpfs: mount one to have checkpoints in memory");
  }
  const fs::path root = root_in_memory(agent_dir);
  if (::mkdir(root.c_str(), 0700) != 0 && errno != EEXIST) return errno_status("mkdir " + root.string(), errno);
  struct stat found{};
  if (::lstat(root.c_str(), &found) != 0) return errno_status("stat " + root.string(), errno);
  if (!S_ISDIR(found.st_mode) || found.st_uid != ::geteuid() || (found.st_mode & 0077) != 0) {
    return conflict(root.string() + " is not this user's alone: remove it");
  }
  const fs::path path = root / name_of(work);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return errno_status("mkdir " + path.string(), errno);
  return path;
}

Status remove_checkpoints(const fs::path& agent_dir, const v1::WorkRef& work) {
  const fs::path memory = root_in_memory(agent_dir);
  RETURN_IF_ERROR(remove_directory(memory / name_of(work)));
  remove_if_empty(memory);
  return remove_directory(checkpoint_dir(agent_dir, work));
}

Status remove_old_checkpoints(const fs::path& agent_dir, const std::set<fs::path>& used, Time now) {
  std::set<std::string> names;
  for (const auto& path : used) names.insert(path.filename());
  const fs::path memory = root_in_memory(agent_dir);
  RETURN_IF_ERROR(remove_old(memory, names, kInMemory, now));
  remove_if_empty(memory);
  return remove_old(root_on_disk(agent_dir), names, kOnDisk, now);
}

}  // namespace freshet::agent
