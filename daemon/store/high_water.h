// HighWater: how far the store had come, in a small file beside it, so that a store that lost records is refused
// instead of opened older. It holds the newest sequence number (a log that was cut or deleted ends before it) and the
// digest of the manifest as far as it was synced (RocksDB takes some damage there for the end of the file, and forgets
// the tables that it names). raise() comes after the sync of what it counts and is not synced itself: on disk it may be
// behind, never ahead. The store's owner calls it, one call at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/status.h"

namespace freshet {

class HighWater {
 public:
  HighWater() = default;
  // Makes the file when there is none. A file that can't be read proves nothing and refuses nothing.
  static Result<HighWater> open(const std::filesystem::path& path);

  // kCorrupt when `database` is not what it had been. The first needs no opened database; call it before the second.
  Status check_manifest(const std::filesystem::path& database) const;
  Status check_sequence(const std::filesystem::path& database, uint64_t sequence) const;

  // Of the newest change that is known to have been synced; 0: none is.
  uint64_t sequence() const { return mark_.sequence; }

  // From now on raise() covers the manifest that `database` writes to.
  void watch(const std::filesystem::path& database);
  // Costs two calls of the system. When they fail the mark stays behind, which is all that happens.
  void raise(uint64_t sequence);
  Status sync();

 private:
  struct Mark {
    uint64_t sequence = 0;
    uint64_t manifest = 0;  // its number; 0: none
    uint64_t manifest_bytes = 0;
    std::string manifest_digest;
  };
  static std::string slot_of(const Mark& mark);
  static Mark read_slot(const std::string& bytes);
  void cover_manifest();

  Fd fd_;
  Mark mark_;
  unsigned raised_ = 0;
  Fd manifest_fd_;
  std::filesystem::path manifest_path_;
};

}  // namespace freshet
