// Small file helpers with the durability rules of the project in one place: what is "written" here is on disk
// (temp file, fsync, rename, fsync of the directory). Also an owned file descriptor. Blocking; any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/status.h"

namespace freshet {

// Owns a file descriptor and closes it.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { reset(); }
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = other.release();
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  int release() {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset();

 private:
  int fd_ = -1;
};

// The whole file.
Result<std::string> read_file(const std::filesystem::path& path);

// Replaces the file atomically and durably; `mode` is its permission bits.
Status write_file_durably(const std::filesystem::path& path, std::string_view bytes, unsigned mode = 0644);

// fsync of a directory, after a rename or create in it.
Status sync_directory(const std::filesystem::path& path);

// Writes all bytes to the descriptor (retries short writes and EINTR).
Status write_all(int fd, const void* data, size_t size);

// 64 hex digits of the file's SHA-256, and its size in bytes.
struct FileDigest {
  std::string sha256;
  uint64_t size = 0;
};
Result<FileDigest> digest_file(const std::filesystem::path& path);

// mkdir -p. What it makes has its name on disk: a file that is written into it is not lost with the directory.
Status make_directories(const std::filesystem::path& path);

}  // namespace freshet
