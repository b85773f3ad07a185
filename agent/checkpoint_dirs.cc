#include "agent/checkpoint_dirs.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "agent/gang_files.h"
#include "base/crash_point.h"

namespace freshet::agent {
namespace {

namespace fs = std::filesystem;

constexpr Duration kKept = Duration::seconds(24 * 3600);
constexpr size_t kKeptMax = 4;

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

}  // namespace

fs::path checkpoint_dir(const fs::path& agent_dir, const v1::WorkRef& work) {
  return agent_dir / "checkpoints" / (work.run_id() + "." + work.step());
}

Status remove_checkpoints(const fs::path& agent_dir, const v1::WorkRef& work) {
  return remove_directory(checkpoint_dir(agent_dir, work));
}

Status remove_old_checkpoints(const fs::path& agent_dir, const std::set<fs::path>& used, Time now) {
  std::error_code error;
  std::vector<Found> unused;
  const fs::path all = agent_dir / "checkpoints";
  if (!fs::exists(all, error)) return Status::ok();
  std::vector<fs::path> gone;
  for (const auto& entry : fs::directory_iterator(all, error)) {
    if (entry.path().filename().string().starts_with(kGonePrefix)) {
      gone.push_back(entry.path());
    } else if (!used.contains(entry.path())) {
      struct stat status{};
      if (::stat(entry.path().c_str(), &status) != 0) continue;  // its gang has just removed it
      unused.push_back({status.st_mtim.tv_sec * 1'000'000 + status.st_mtim.tv_nsec / 1000, entry.path()});
    }
  }
  if (error) return errno_status("list " + all.string(), error.value());
  for (const auto& path : gone) fs::remove_all(path, error);
  if (error) return errno_status("remove what is left in " + all.string(), error.value());
  std::sort(unused.begin(), unused.end(), [](const Found& a, const Found& b) { return a.changed_us > b.changed_us; });
  for (size_t i = 0; i < unused.size(); ++i) {
    if (i < kKeptMax && now.us - unused[i].changed_us < kKept.us) continue;
    RETURN_IF_ERROR(remove_directory(unused[i].path));
  }
  return Status::ok();
}

}  // namespace freshet::agent
