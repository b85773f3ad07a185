// Kv: the ordered map of bytes under the writer, so that the store's rules are the same over RocksDB and in memory.
// Reads come from snapshots; write() is atomic and synced. Any thread may read; the writer alone calls write(), one
// call at a time. It knows nothing of records, revisions or the audit log.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace freshet {

struct KvPair {
  std::string key;
  std::string value;
};

struct KvWrite {
  std::string key;
  std::optional<std::string> value;  // nullopt: delete
};

class KvSnapshot {
 public:
  virtual ~KvSnapshot() = default;
  virtual Result<std::optional<std::string>> get(std::string_view key) const = 0;
  // The arguments are those of Snapshot::scan in store.h.
  virtual Result<std::vector<KvPair>> scan(std::string_view prefix, std::string_view after, size_t limit,
                                           bool reverse) const = 0;
};

class Kv {
 public:
  virtual ~Kv() = default;
  // A consistent view of all that was written before the call. It must not outlive the Kv.
  virtual std::unique_ptr<KvSnapshot> snapshot() const = 0;
  // All or nothing, in order, on disk when it returns ok. kResourceExhausted: the disk is full, nothing was written.
  virtual Status write(const std::vector<KvWrite>& batch) = 0;
};

// The smallest string that is greater than every string with this prefix; empty: there is none.
std::string prefix_end(std::string_view prefix);

}  // namespace freshet
