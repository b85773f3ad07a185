#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/crash_point.h"
#include "base/sha256.h"

namespace freshet {

void Fd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<std::string> read_file(const std::filesystem::path& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) return errno_status("open " + path.string(), errno);
  std::string bytes;
  struct stat info{};
  if (::fstat(fd.get(), &info) == 0 && info.st_size > 0) bytes.reserve(static_cast<size_t>(info.st_size));
  char buffer[1 << 16];
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("read " + path.string(), errno);
    if (n == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(n));
  }
}

Status write_all(int fd, const void* data, size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    ssize_t n = ::write(fd, at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("write", errno);
    at += n;
    size -= static_cast<size_t>(n);
  }
  return Status::ok();
}

Status sync_directory(const std::filesystem::path& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) return errno_status("open " + path.string(), errno);
  if (::fsync(fd.get()) != 0) return errno_status("fsync " + path.string(), errno);
  return Status::ok();
}

Status write_file_durably(const std::filesystem::path& path, std::string_view bytes, unsigned mode) {
  std::filesystem::path temporary = path;
  temporary += ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(::gettid());
  Status status;
  {
    Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (!fd.is_open()) return errno_status("create " + temporary.string(), errno);
    status = write_all(fd.get(), bytes.data(), bytes.size()).with_context(temporary.string());
    CRASH_POINT("file.write.before_sync");
    if (status.is_ok() && ::fsync(fd.get()) != 0) status = errno_status("fsync " + temporary.string(), errno);
  }
  CRASH_POINT("file.write.before_rename");
  if (status.is_ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = errno_status("rename to " + path.string(), errno);
  }
  CRASH_POINT("file.write.after_rename");
  if (!status.is_ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  std::filesystem::path parent = path.parent_path();
  status = sync_directory(parent.empty() ? "." : parent);
  CRASH_POINT("file.write.after_directory_sync");
  return status;
}

Result<FileDigest> digest_file(const std::filesystem::path& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) return errno_status("open " + path.string(), errno);
  Sha256 hash;
  FileDigest result;
  std::vector<char> buffer(1 << 18);
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("read " + path.string(), errno);
    if (n == 0) break;
    hash.update(buffer.data(), static_cast<size_t>(n));
    result.size += static_cast<uint64_t>(n);
  }
  result.sha256 = hash.finish_hex();
  return result;
}

Status make_directories(const std::filesystem::path& path) {
  // The names that are missing, the innermost first.
  std::vector<std::filesystem::path> missing;
  std::error_code error;
  for (std::filesystem::path at = path; !at.empty() && !std::filesystem::is_directory(at, error);) {
    missing.push_back(at);
    std::filesystem::path parent = at.parent_path();
    if (parent == at) break;
    at = std::move(parent);
  }
  for (auto made = missing.rbegin(); made != missing.rend(); ++made) {
    std::filesystem::create_directory(*made, error);
    if (error) return errno_status("mkdir " + made->string(), error.value());
    const std::filesystem::path parent = made->parent_path();
    RETURN_IF_ERROR(sync_directory(parent.empty() ? "." : parent));
  }
  return Status::ok();
}

}  // namespace freshet
