// A file system of a test's own, small enough to fill: a tmpfs. Gone with the object. Needs root; else error() is set.
#pragma once

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/file.h"
#include "tests/unit/store/support.h"

namespace freshet {

class SmallDisk {
 public:
  explicit SmallDisk(const char* options) {
    if (::mount("freshet-test", path().c_str(), "tmpfs", 0, options) != 0) error_ = errno;
  }
  ~SmallDisk() {
    if (error_ == 0) ::umount2(path().c_str(), MNT_DETACH);
  }
  int error() const { return error_; }
  const std::filesystem::path& path() const { return directory_.path(); }

  void fill_up() {
    Fd fd(::open((path() / "filler").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600));
    for (size_t chunk : {size_t{1} << 20, size_t{4096}, size_t{1}}) {
      std::string bytes(chunk, 'f');
      while (::write(fd.get(), bytes.data(), chunk) == static_cast<ssize_t>(chunk)) continue;
    }
  }
  void free_up() { std::filesystem::remove(path() / "filler"); }

 private:
  TempDir directory_;
  int error_ = 0;
};

#define NEED_SMALL_DISK(disk) \
  if ((disk).error() != 0) GTEST_SKIP() << "a tmpfs can't be mounted here: " << std::strerror((disk).error())

}  // namespace freshet
