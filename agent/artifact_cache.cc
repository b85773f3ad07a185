#include "agent/artifact_cache.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "agent/artifact_dir.h"
#include "base/crash_point.h"
#include "base/file.h"
#include "base/sha256.h"

namespace freshet::agent {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPartPrefix = "part-";

// A name that no other fetch of this process uses; those of earlier processes are gone by clean_up().
std::string part_name(const std::string& digest) {
  static std::atomic<uint64_t> counter{0};
  return kPartPrefix + std::to_string(++counter) + "-" + digest;
}

Status fetch_into(const fs::path& part, const std::string& digest, ArtifactTransfer& transfer) {
  ASSIGN_OR_RETURN(std::string bytes, transfer.get_manifest(digest));
  ASSIGN_OR_RETURN(v1::ArtifactManifest manifest, parse_manifest(bytes, digest));
  for (const auto& file : manifest.files()) {
    const fs::path path = part / file.name();
    RETURN_IF_ERROR(make_directories(path.parent_path()));
    RETURN_IF_ERROR(transfer.get_file(digest, file.name(), path).with_context("artifact " + digest));
  }
  CRASH_POINT("cache.manifest.before_write");
  RETURN_IF_ERROR(write_file_durably(part / kManifestName, bytes));
  CRASH_POINT("cache.manifest.after_write");
  return check_artifact(part, digest, true).status();
}

}  // namespace

Status ArtifactCache::fetch(const std::string& digest, ArtifactTransfer& transfer) const {
  if (!is_sha256_hex(digest)) return invalid_argument("\"" + digest + "\" is not the digest of an artifact");
  const fs::path path = path_of(digest);
  std::error_code error;
  if (fs::exists(path, error)) {
    if (check_artifact(path, digest, false).is_ok()) return Status::ok();
    fs::remove_all(path, error);
  }
  const fs::path part = dir_ / part_name(digest);
  RETURN_IF_ERROR(make_directories(part));
  CRASH_POINT("cache.artifact.before_fetch");
  Status status = fetch_into(part, digest, transfer);
  CRASH_POINT("cache.artifact.before_rename");
  if (status.is_ok() && ::rename(part.c_str(), path.c_str()) != 0) {
    // Another gang was quicker: the same digest is the same content.
    if (errno != ENOTEMPTY && errno != EEXIST) status = errno_status("rename to " + path.string(), errno);
  }
  CRASH_POINT("cache.artifact.after_rename");
  fs::remove_all(part, error);
  return status;
}

Status ArtifactCache::clean_up() const {
  RETURN_IF_ERROR(make_directories(dir_));
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir_, error)) {
    std::error_code ignored;
    if (entry.path().filename().string().starts_with(kPartPrefix)) fs::remove_all(entry.path(), ignored);
  }
  if (error) return errno_status("list " + dir_.string(), error.value());
  return Status::ok();
}

Status upload_artifact(const fs::path& dir, const std::string& digest, ArtifactTransfer& transfer) {
  ASSIGN_OR_RETURN(v1::ArtifactManifest manifest, check_artifact(dir, digest, false));
  auto present = transfer.get_manifest(digest);
  if (present.is_ok()) return Status::ok();
  if (present.status().code() != Code::kNotFound) return present.status();
  for (const auto& file : manifest.files()) {
    CRASH_POINT("upload.file.before_send");
    RETURN_IF_ERROR(transfer.put_file(file.sha256(), dir / file.name()).with_context(file.name()));
    CRASH_POINT("upload.file.after_send");
  }
  CRASH_POINT("upload.manifest.before_send");
  Status sent = transfer.put_manifest(digest, dir / kManifestName);
  CRASH_POINT("upload.manifest.after_send");
  return sent;
}

}  // namespace freshet::agent
