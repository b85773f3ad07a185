// What freshetd does without serving: restore a backup, and verify one. Prints what it did; errors say what to change.
#pragma once

#include <filesystem>
#include <string>

#include "base/status.h"

namespace freshet {

// The line to print.
Result<std::string> restore_data_directory(const std::filesystem::path& backup, const std::filesystem::path& data_dir);
Result<std::string> verify_backup_directory(const std::filesystem::path& backup);

}  // namespace freshet
