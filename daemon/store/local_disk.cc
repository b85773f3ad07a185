#include "daemon/store/local_disk.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <limits>

namespace freshet {

Result<uint64_t> LocalDisk::free_bytes() const {
  uint64_t least = std::numeric_limits<uint64_t>::max();
  for (const std::filesystem::path& directory : directories_) {
    struct statvfs info{};
    if (::statvfs(directory.c_str(), &info) != 0) return errno_status("statvfs " + directory.string(), errno);
    least = std::min(least, static_cast<uint64_t>(info.f_bavail) * info.f_frsize);
  }
  return least;
}

}  // namespace freshet
