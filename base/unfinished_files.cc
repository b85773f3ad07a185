#include "base/unfinished_files.h"

#include <regex>
#include <vector>

namespace freshet {

Status remove_unfinished_files(const std::filesystem::path& directory) {
  static const std::regex kTemporary(R"(.+\.tmp-[0-9]+-[0-9]+)");
  std::error_code error;
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (std::regex_match(entry.path().filename().string(), kTemporary)) found.push_back(entry.path());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return errno_status("list " + directory.string(), error.value());
  }
  for (const auto& path : found) {
    if (!std::filesystem::remove(path, error) && error) return errno_status("remove " + path.string(), error.value());
  }
  return Status::ok();
}

}  // namespace freshet
