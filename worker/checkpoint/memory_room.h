// Whether files in a tmpfs would leave enough memory to everything else. Blocking; any thread.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/status.h"

namespace freshet::worker {

// resource_exhausted, saying how much there is, unless `bytes` more fit into the file system of `directory` (which need
// not be there yet) and into the machine's memory, and `left` bytes of both are free after that.
Status check_memory_room(const std::filesystem::path& directory, uint64_t bytes, uint64_t left);

}  // namespace freshet::worker
