// Store: the one place where state lives. Reads come from snapshots; every change goes through commit(), which checks
// the preconditions, stamps a revision, adds the audit record, syncs one batch and only then answers. Any thread.
// Records are typed one level up (tables.h); here a record is a key and the bytes of its message.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/time.h"

namespace freshet {

// The number of a commit: grows by one with every commit, audited or not; 0 before the first. There is one sequence for
// both, so a precondition sees every change; the audit log therefore has gaps where unaudited commits lie, and its
// chain of digests, not the numbers, shows that none of its records is missing.
using Revision = uint64_t;

struct StoredValue {
  std::string payload;
  Revision revision = 0;  // of the commit that wrote it
  Time commit_time;
};

struct KeyValue {
  std::string key;
  StoredValue value;
};

class Snapshot {
 public:
  virtual ~Snapshot() = default;
  // Of the newest commit that this snapshot holds.
  virtual Revision revision() const = 0;
  // nullopt: no such key. Corrupt when the bytes on disk are not what was written.
  virtual Result<std::optional<StoredValue>> get(std::string_view key) const = 0;
  // Keys that start with `prefix`, in ascending byte order (descending when `reverse`), strictly after `after` in that
  // order (empty: from the start), at most `limit` (0: all).
  virtual Result<std::vector<KeyValue>> scan(std::string_view prefix, std::string_view after = {}, size_t limit = 0,
                                             bool reverse = false) const = 0;
};

// Holds when the key's record was written by exactly this revision; 0: there is no such record.
struct Precondition {
  std::string key;
  Revision revision = 0;
};

struct Write {
  std::string key;
  std::optional<std::string> payload;  // nullopt: delete
};

struct Change {
  std::vector<Precondition> preconditions;
  std::vector<Write> writes;
  // Payloads of records of the outbox (keys::outbox_event), which the writer numbers by the commit's revision.
  std::vector<std::string> events;
  // Who, what and why, for the audit log.
  std::string actor;
  std::string action;
  std::string reason;
  // Metric points, heartbeats and leases: false. They are synced and numbered but leave no audit record. A key is
  // written by audited changes only or by unaudited ones only.
  bool audited = true;
};

struct Committed {
  Revision revision = 0;
  Time commit_time;
};

class Store {
 public:
  virtual ~Store() = default;
  virtual std::unique_ptr<Snapshot> snapshot() const = 0;
  // Blocks until the batch is synced. kConflict: a precondition failed, nothing was written; read again and retry.
  // kResourceExhausted: the disk is full, nothing was written. kInvalidArgument: no writes and no events, an empty key,
  // or one that belongs to the writer. Any other code: the disk failed and it is not known whether the change is
  // stored; read again.
  virtual Result<Committed> commit(Change change) = 0;
};

}  // namespace freshet
