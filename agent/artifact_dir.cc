#include "agent/artifact_dir.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "agent/text.h"
#include "base/crash_point.h"
#include "base/file.h"
#include "base/sha256.h"
#include "proto/json.h"

namespace freshet::agent {
namespace fs = std::filesystem;
namespace {

Status sync_file(const fs::path& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.is_open()) return errno_status("open " + path.string(), errno);
  if (::fsync(fd.get()) != 0) return errno_status("fsync " + path.string(), errno);
  return Status::ok();
}

// Every regular file below `dir` by its name in the artifact.
Result<std::map<std::string, fs::path>> list_files(const fs::path& dir) {
  std::map<std::string, fs::path> files;
  std::error_code error;
  fs::recursive_directory_iterator walk(dir, error);
  for (; !error && walk != fs::recursive_directory_iterator(); walk.increment(error)) {
    const std::string name = walk->path().lexically_relative(dir).generic_string();
    const fs::file_status status = walk->symlink_status(error);
    if (error) break;
    if (status.type() == fs::file_type::directory) continue;
    if (status.type() != fs::file_type::regular) return invalid_argument(name + " is not a regular file");
    if (valid_utf8(name) != name) return invalid_argument("the name " + valid_utf8(name) + " is not UTF-8");
    if (name != kManifestName) files[name] = walk->path();
  }
  if (error) return errno_status("list " + dir.string(), error.value());
  return files;
}

}  // namespace

bool is_artifact_file_name(std::string_view name) {
  if (name.empty() || name == kManifestName || name.find('\0') != std::string_view::npos) return false;
  for (size_t at = 0; at <= name.size();) {
    size_t end = std::min(name.find('/', at), name.size());
    std::string_view part = name.substr(at, end - at);
    if (part.empty() || part == "." || part == "..") return false;
    at = end + 1;
  }
  return true;
}

Result<v1::ArtifactManifest> parse_manifest(std::string_view bytes, const std::string& digest) {
  const std::string actual = Sha256::hex_of(bytes);
  if (actual != digest) {
    return corrupt("the manifest of artifact " + digest + " has the digest " + actual);
  }
  v1::ArtifactManifest manifest;
  RETURN_IF_ERROR(from_json(bytes, &manifest).with_context("manifest of artifact " + digest));
  std::set<std::string> names;
  for (const auto& file : manifest.files()) {
    if (!is_artifact_file_name(file.name()) || !names.insert(file.name()).second) {
      return corrupt("artifact " + digest + " names a file \"" + file.name() + "\"");
    }
  }
  return manifest;
}

Result<v1::ArtifactManifest> check_artifact(const fs::path& dir, const std::string& digest, bool read_contents) {
  ASSIGN_OR_RETURN(std::string bytes, read_file(dir / kManifestName));
  ASSIGN_OR_RETURN(v1::ArtifactManifest manifest, parse_manifest(bytes, digest));
  for (const auto& file : manifest.files()) {
    const fs::path path = dir / file.name();
    std::error_code error;
    uint64_t size = fs::file_size(path, error);
    if (error) return errno_status("size of " + path.string(), error.value());
    if (size != file.size()) {
      return corrupt(path.string() + " has " + std::to_string(size) + " bytes, its manifest says " +
                     std::to_string(file.size()));
    }
    if (!read_contents) continue;
    ASSIGN_OR_RETURN(FileDigest content, digest_file(path));
    if (content.sha256 != file.sha256()) {
      return corrupt(path.string() + " has the digest " + content.sha256 + ", its manifest says " + file.sha256());
    }
  }
  return manifest;
}

Result<std::string> seal_directory(const fs::path& from, const fs::path& to, const std::string& type) {
  ASSIGN_OR_RETURN(auto files, list_files(from));
  v1::ArtifactManifest manifest;
  manifest.set_type(type);
  std::set<fs::path> directories{from};
  for (const auto& [name, path] : files) {
    RETURN_IF_ERROR(sync_file(path));
    ASSIGN_OR_RETURN(FileDigest content, digest_file(path));
    auto* file = manifest.add_files();
    file->set_name(name);
    file->set_size(content.size);
    file->set_sha256(content.sha256);
    directories.insert(path.parent_path());
  }
  CRASH_POINT("output.directory.before_sync");
  for (const auto& directory : directories) RETURN_IF_ERROR(sync_directory(directory));
  const std::string bytes = to_canonical_json(manifest);
  CRASH_POINT("output.manifest.before_write");
  RETURN_IF_ERROR(write_file_durably(from / kManifestName, bytes));
  CRASH_POINT("output.directory.before_rename");
  if (::rename(from.c_str(), to.c_str()) != 0) return errno_status("rename to " + to.string(), errno);
  CRASH_POINT("output.directory.after_rename");
  RETURN_IF_ERROR(sync_directory(to.parent_path()));
  CRASH_POINT("output.directory.after_parent_sync");
  return Sha256::hex_of(bytes);
}

}  // namespace freshet::agent
