// What write_file_durably leaves behind when its process is killed: the temporary file beside the one that it was to
// replace. Whoever owns a directory removes them at its start, before anybody writes there. Blocking; any thread.
#pragma once

#include <filesystem>

#include "base/status.h"

namespace freshet {

// Those that lie in the directory itself; ok when there is no such directory.
Status remove_unfinished_files(const std::filesystem::path& directory);

}  // namespace freshet
