// The part of LocalArtifactStore that takes things away: artifacts by their seal, files by sweeping for strays.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/sha256.h"
#include "daemon/store/artifact_store.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;

Time changed_at(const struct stat& info) {
  return Time{static_cast<int64_t>(info.st_mtim.tv_sec) * 1'000'000 + info.st_mtim.tv_nsec / 1000};
}

// The names in a directory; none when it does not exist.
Result<std::vector<std::string>> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& item : fs::directory_iterator(directory, error)) {
    names.push_back(item.path().filename().string());
  }
  if (error && error.value() != ENOENT) return errno_status("list " + directory.string(), error.value());
  return names;
}

}  // namespace

void LocalArtifactStore::add_references(const std::string& digest, const v1::ArtifactManifest& manifest, int by) {
  (*references_)[digest] += by;
  for (const auto& file : manifest.files()) (*references_)[file.sha256()] += by;
}

Status LocalArtifactStore::count_references() {
  if (references_) return Status::ok();
  ASSIGN_OR_RETURN(auto digests, names_in(root_ / "sealed"));
  references_.emplace();
  for (const auto& digest : digests) {
    auto manifest = [&]() -> Result<v1::ArtifactManifest> {
      ASSIGN_OR_RETURN(std::string bytes, read_blob(digest));
      return check_manifest(digest, bytes);
    }();
    if (!manifest.is_ok()) {
      // Which files it has is not known, so none may go.
      references_.reset();
      return manifest.status().with_context("artifact " + digest);
    }
    add_references(digest, *manifest, 1);
  }
  return Status::ok();
}

bool LocalArtifactStore::touch_file(const std::string& sha256) {
  std::lock_guard lock(mutex_);
  return has_file(sha256) && ::utimensat(AT_FDCWD, blob_path(sha256).c_str(), nullptr, 0) == 0;
}

Result<std::vector<SealedArtifact>> LocalArtifactStore::sealed() const {
  ASSIGN_OR_RETURN(auto digests, names_in(root_ / "sealed"));
  std::vector<SealedArtifact> all;
  for (const auto& digest : digests) {
    struct stat info{};
    // Gone since it was listed, or a name that write_file_durably() has not renamed yet.
    if (!is_sha256_hex(digest) || ::stat(sealed_path(digest).c_str(), &info) != 0) continue;
    all.push_back({digest, changed_at(info)});
  }
  return all;
}

Status LocalArtifactStore::remove(const std::string& digest, const std::function<bool(const std::string&)>& may_drop) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(auto names, pins(digest));
  for (const auto& by : names) {
    if (!may_drop(by)) return conflict("artifact " + digest + " is pinned by " + by);
  }
  if (exists(digest)) {
    if (references_) {
      ASSIGN_OR_RETURN(std::string bytes, read_blob(digest));
      ASSIGN_OR_RETURN(v1::ArtifactManifest manifest, check_manifest(digest, bytes));
      add_references(digest, manifest, -1);
    }
    CRASH_POINT("gc.seal.before_remove");
    if (::unlink(sealed_path(digest).c_str()) != 0 && errno != ENOENT) {
      references_.reset();  // counted anew
      return errno_status("remove " + sealed_path(digest).string(), errno);
    }
    CRASH_POINT("gc.seal.after_remove");
  }
  // Also when the seal was gone: whoever removed it may have died before this.
  RETURN_IF_ERROR(sync_directory(root_ / "sealed"));
  CRASH_POINT("gc.seal.after_sync");
  std::error_code error;
  fs::remove_all(root_ / "pins" / digest, error);
  if (error) return errno_status("remove the pins of " + digest, error.value());
  return Status::ok();
}

Result<StrayFiles> LocalArtifactStore::sweep(size_t part, Time before, bool dry_run) {
  char name[8];
  std::snprintf(name, sizeof name, "%02zx", part % kSweepParts);
  const fs::path folder = root_ / "blobs" / name;
  StrayFiles strays;
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(count_references());
  ASSIGN_OR_RETURN(auto files, names_in(folder));
  for (const auto& file : files) {
    auto found = references_->find(file);
    if (found != references_->end() && found->second > 0) continue;
    struct stat info{};
    if (::stat((folder / file).c_str(), &info) != 0 || changed_at(info) >= before) continue;
    ++strays.files;
    strays.bytes += static_cast<uint64_t>(info.st_size);
    if (dry_run) continue;
    CRASH_POINT("gc.file.before_remove");
    if (::unlink((folder / file).c_str()) != 0 && errno != ENOENT) return errno_status("remove " + file, errno);
    CRASH_POINT("gc.file.after_remove");
  }
  return strays;
}

}  // namespace freshet
