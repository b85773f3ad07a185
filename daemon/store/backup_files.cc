#include "daemon/store/backup_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/sha256.h"
#include "proto/json.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kFormat = 1;
constexpr const char* kManifestName = "manifest";
constexpr std::string_view kDigestPrefix = "sha256 ";

}  // namespace

Status StagedDirectory::check(const fs::path& target) {
  if (!target.is_absolute() || !target.has_filename()) {
    return invalid_argument("'" + target.string() + "' is not the absolute path of a directory");
  }
  std::error_code error;
  if (fs::exists(target, error) && !(fs::is_directory(target, error) && fs::is_empty(target, error))) {
    return invalid_argument(target.string() + " exists and is not an empty directory; name another");
  }
  return Status::ok();
}

Result<StagedDirectory> StagedDirectory::begin(const fs::path& target) {
  RETURN_IF_ERROR(check(target));
  std::error_code error;
  RETURN_IF_ERROR(make_directories(target.parent_path()));
  fs::path path = target.parent_path() / ("." + target.filename().string() + ".freshet-part");
  fs::remove_all(path, error);
  if (error) return errno_status("remove " + path.string(), error.value());
  RETURN_IF_ERROR(make_directories(path));
  fs::permissions(path, fs::perms::owner_all, error);
  if (error) return errno_status("chmod " + path.string(), error.value());
  return StagedDirectory(std::move(path), target);
}

StagedDirectory::~StagedDirectory() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

Status StagedDirectory::finish() {
  RETURN_IF_ERROR(sync_tree(path_));
  if (::rename(path_.c_str(), target_.c_str()) != 0) return errno_status("rename to " + target_.string(), errno);
  path_.clear();
  return sync_directory(target_.parent_path());
}

Status write_manifest(const fs::path& directory, const v1::BackupManifest& manifest) {
  v1::BackupManifest stamped = manifest;
  stamped.set_format(kFormat);
  std::string text = to_json(stamped) + "\n";
  text += std::string(kDigestPrefix) + Sha256::hex_of(text) + "\n";
  return write_file_durably(directory / kManifestName, text);
}

Result<v1::BackupManifest> read_manifest(const fs::path& directory) {
  const fs::path path = directory / kManifestName;
  auto text = read_file(path);
  if (!text.is_ok() && text.status().code() == Code::kNotFound) {
    return not_found(directory.string() + " is no backup: it has no file " + kManifestName);
  }
  RETURN_IF_ERROR(text.status());
  const size_t line = text->find('\n') + 1;  // 0: there is none
  const std::string body = text->substr(0, line);
  if (line == 0 || text->substr(line) != std::string(kDigestPrefix) + Sha256::hex_of(body) + "\n") {
    return corrupt(path.string() + " is damaged: it is not what was written");
  }
  v1::BackupManifest manifest;
  RETURN_IF_ERROR(from_json(body, &manifest).with_context(path.string()));
  if (manifest.format() == kFormat) return manifest;
  return invalid_argument(path.string() + " has format " + std::to_string(manifest.format()) +
                          "; this freshetd reads format " + std::to_string(kFormat));
}

Result<FileDigest> copy_file_durably(const fs::path& from, const fs::path& to) {
  Fd source(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!source.is_open()) return errno_status("open " + from.string(), errno);
  RETURN_IF_ERROR(make_directories(to.parent_path()));
  Fd target(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!target.is_open()) return errno_status("create " + to.string(), errno);
  Sha256 hash;
  FileDigest digest;
  std::vector<char> buffer(1 << 20);
  for (;;) {
    const ssize_t count = ::read(source.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno_status("read " + from.string(), errno);
    if (count == 0) break;
    const auto size = static_cast<size_t>(count);
    hash.update(buffer.data(), size);
    digest.size += size;
    RETURN_IF_ERROR(write_all(target.get(), buffer.data(), size).with_context(to.string()));
  }
  struct stat info{};
  if (::fstat(source.get(), &info) == 0) (void)::fchmod(target.get(), info.st_mode & 0777);
  if (::fsync(target.get()) != 0) return errno_status("fsync " + to.string(), errno);
  digest.sha256 = hash.finish_hex();
  return digest;
}

Result<FileDigest> link_or_copy(const fs::path& from, const fs::path& to) {
  RETURN_IF_ERROR(make_directories(to.parent_path()));
  if (::link(from.c_str(), to.c_str()) == 0) return digest_file(to);
  if (errno == ENOENT) return errno_status("link " + from.string(), ENOENT);
  return copy_file_durably(from, to);
}

Status sync_tree(const fs::path& root) {
  std::error_code error;
  for (const auto& item : fs::recursive_directory_iterator(root, error)) {
    if (item.is_directory()) RETURN_IF_ERROR(sync_directory(item.path()));
  }
  if (error) return errno_status("list " + root.string(), error.value());
  return sync_directory(root);
}

}  // namespace freshet
