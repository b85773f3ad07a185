#include "worker/checkpoint/memory_room.h"

#include <sys/statvfs.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/parse_number.h"

namespace freshet::worker {
namespace {

namespace fs = std::filesystem;

// What can be used without swapping, by the kernel's own estimate.
Result<uint64_t> available_memory() {
  ASSIGN_OR_RETURN(std::string text, read_file("/proc/meminfo"));
  constexpr std::string_view kName = "MemAvailable:";
  std::string_view line = text;
  const size_t at = line.find(kName);
  if (at == std::string_view::npos) return internal("/proc/meminfo has no MemAvailable");
  line.remove_prefix(at + kName.size());
  line.remove_prefix(std::min(line.size(), line.find_first_not_of(' ')));
  uint64_t kibibytes = 0;
  if (!parse_number(line.substr(0, line.find(' ')), &kibibytes)) return internal("/proc/meminfo is not as expected");
  return kibibytes * 1024;
}

Result<uint64_t> free_bytes(fs::path directory) {
  std::error_code ignored;
  while (!fs::exists(directory, ignored) && directory.has_relative_path()) directory = directory.parent_path();
  struct statvfs found{};
  if (statvfs(directory.c_str(), &found) != 0) return errno_status("statvfs " + directory.string(), errno);
  return uint64_t{found.f_bavail} * found.f_frsize;
}

}  // namespace

Status check_memory_room(const fs::path& directory, uint64_t bytes, uint64_t left) {
  ASSIGN_OR_RETURN(uint64_t file_system, free_bytes(directory));
  ASSIGN_OR_RETURN(uint64_t machine, available_memory());
  const uint64_t room = std::min(file_system, machine);
  if (room >= left && room - left >= bytes) return Status::ok();
  return resource_exhausted("it takes " + std::to_string(bytes >> 20) + " MiB of memory, and of the " +
                            std::to_string(room >> 20) + " MiB that are free " + std::to_string(left >> 20) +
                            " MiB are left to others");
}

}  // namespace freshet::worker
