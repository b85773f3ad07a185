// Writer: the Store over a Kv. Callers of commit() queue; the one at the head becomes the leader and writes everybody's
// changes as one synced batch (group commit), so there is no thread of its own and one thread is deterministic. It
// keeps no state but the queue: where the log stands is read from the Kv before each batch, so a failed write leaves
// nothing half-done. It also keeps the number of keys under counted prefixes (keys::counted_prefix), in the same batch,
// so that nobody has to list them to know it. Any thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "daemon/store/kv.h"
#include "daemon/store/store.h"

namespace freshet {

struct WriterStats {
  uint64_t commits = 0;    // changes that were stored
  uint64_t batches = 0;    // synced writes that carried them
  uint64_t conflicts = 0;  // changes refused by a precondition
  uint64_t failures = 0;   // changes refused by the disk
};

class Writer final : public Store {
 public:
  // Both outlive the writer. Only one writer may exist over a Kv.
  Writer(Kv& kv, const Clock& clock) : kv_(kv), clock_(clock) {}

  // Hears the keys of each batch when it has been written, or may have been; by the thread that wrote it, before its
  // commits return. Set before the first commit.
  using OnWritten = std::function<void(const std::vector<std::string_view>& keys)>;
  void on_written(OnWritten heard) { on_written_ = std::move(heard); }

  std::unique_ptr<Snapshot> snapshot() const override;
  Result<Committed> commit(Change change) override;

  WriterStats stats() const;
  // Changes that are queued or being written now.
  size_t waiting() const;

 private:
  struct Waiter;
  void write_group(const std::vector<Waiter*>& group);
  void tell(const std::vector<KvWrite>& writes) const;

  Kv& kv_;
  const Clock& clock_;
  OnWritten on_written_;
  mutable std::mutex mutex_;
  std::deque<Waiter*> queue_;  // its head is the leader, or about to wake as one
  WriterStats stats_;
};

}  // namespace freshet
