// The torn end of RocksDB's newest log: the one batch that was being written when the power went, of which the disk has
// the beginning and then zeros or nothing sensible. RocksDB opens a log that ends early, but refuses one in which such
// a batch is as long as it should be. Blocking; call it while nobody has the database open.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/status.h"

namespace freshet {

// Cuts the newest log behind its last whole batch when all that follows is one batch that is not whole. Nothing is cut
// when a whole one follows (that is damage, and RocksDB says so), nor when the store had come to change `synced`, which
// would be lost with it. True: it was cut.
Result<bool> cut_torn_tail(const std::filesystem::path& database, uint64_t synced);

}  // namespace freshet
