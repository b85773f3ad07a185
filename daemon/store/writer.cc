#include "daemon/store/writer.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/crash_point.h"
#include "base/sha256.h"
#include "daemon/store/keys.h"
#include "daemon/store/read_set.h"
#include "daemon/store/tables.h"
#include "proto/record.pb.h"

namespace freshet {
namespace {

constexpr uint32_t kFormat = 1;
// A group is cut here, so that one large change doesn't hold up many small ones behind it.
constexpr size_t kGroupBytesMax = 1 << 20;
constexpr size_t kGroupChangesMax = 512;

Result<StoredValue> open_envelope(std::string_view key, const std::string& bytes) {
  v1::StoredRecord record;
  RETURN_IF_ERROR(parse(key, bytes, record));
  if (record.format() != kFormat) {
    return corrupt("the record " + std::string(key) + " has format " + std::to_string(record.format()) +
                   "; this freshetd reads format " + std::to_string(kFormat));
  }
  return StoredValue{std::move(*record.mutable_payload()), record.revision(), Time{record.commit_us()}};
}

std::string seal_envelope(std::string payload, const Committed& committed) {
  v1::StoredRecord record;
  record.set_format(kFormat);
  record.set_revision(committed.revision);
  record.set_commit_us(committed.commit_time.us);
  record.set_payload(std::move(payload));
  return serialize(record);
}

Result<std::optional<StoredValue>> read_value(const KvSnapshot& kv, std::string_view key) {
  ASSIGN_OR_RETURN(std::optional<std::string> bytes, kv.get(key));
  if (!bytes) return std::optional<StoredValue>();
  ASSIGN_OR_RETURN(StoredValue value, open_envelope(key, *bytes));
  return std::optional<StoredValue>(std::move(value));
}

Result<v1::LastCommit> read_last(const KvSnapshot& kv) {
  v1::LastCommit last;
  ASSIGN_OR_RETURN(std::optional<StoredValue> stored, read_value(kv, keys::last_commit()));
  if (stored) RETURN_IF_ERROR(parse(keys::last_commit(), stored->payload, last));
  return last;
}

class StoreSnapshot final : public Snapshot {
 public:
  explicit StoreSnapshot(std::unique_ptr<KvSnapshot> kv) : kv_(std::move(kv)) {
    Result<v1::LastCommit> last = read_last(*kv_);
    if (last.is_ok()) {
      revision_ = last->revision();
    } else {
      unreadable_ = last.status();
    }
  }

  Revision revision() const override { return revision_; }

  Result<std::optional<StoredValue>> get(std::string_view key) const override {
    if (ReadSet* reads = current_reads()) reads->add_key(key);
    RETURN_IF_ERROR(unreadable_);
    return read_value(*kv_, key);
  }

  Result<std::vector<KeyValue>> scan(std::string_view prefix, std::string_view after, size_t limit,
                                     bool reverse) const override {
    if (ReadSet* reads = current_reads()) reads->add_prefix(prefix);
    RETURN_IF_ERROR(unreadable_);
    ASSIGN_OR_RETURN(std::vector<KvPair> pairs, kv_->scan(prefix, after, limit, reverse));
    std::vector<KeyValue> found;
    found.reserve(pairs.size());
    for (KvPair& pair : pairs) {
      ASSIGN_OR_RETURN(StoredValue value, open_envelope(pair.key, pair.value));
      found.push_back({std::move(pair.key), std::move(value)});
    }
    return found;
  }

 private:
  std::unique_ptr<KvSnapshot> kv_;
  Revision revision_ = 0;
  Status unreadable_;  // why the record of the last commit could not be read: then nothing else can be trusted
};

Status validate(const Change& change) {
  if (change.writes.empty() && change.events.empty()) return invalid_argument("a change without writes");
  for (const Write& write : change.writes) {
    if (write.key.empty()) return invalid_argument("a write without a key");
    if (keys::is_reserved(write.key)) return invalid_argument("the key " + write.key + " belongs to the writer");
  }
  return Status::ok();
}

size_t size_of(const Change& change) {
  size_t size = 0;
  for (const Write& write : change.writes) size += write.key.size() + (write.payload ? write.payload->size() : 0);
  for (const std::string& event : change.events) size += event.size();
  return size;
}

// What a batch will hold: the changes that fit so far, checked one after another against the snapshot plus what is
// already staged.
class Batch {
 public:
  Batch(const KvSnapshot& kv, v1::LastCommit last) : kv_(kv), last_(std::move(last)) {}

  Result<Committed> stage(Change& change, Time now) {
    for (const Precondition& precondition : change.preconditions) {
      ASSIGN_OR_RETURN(Revision found, revision_of(precondition.key));
      if (found != precondition.revision) {
        return conflict(precondition.key + " is at revision " + std::to_string(found) + ", expected " +
                        std::to_string(precondition.revision));
      }
    }
    RETURN_IF_ERROR(count(change));
    Committed committed{last_.revision() + 1, std::max(now, Time{last_.commit_us() + 1})};
    for (size_t i = 0; i < change.events.size(); ++i) {
      change.writes.push_back({keys::outbox_event(committed.revision, i), std::move(change.events[i])});
    }
    if (change.audited) stage_audit(change, committed);
    for (Write& write : change.writes) {
      revisions_[write.key] = write.payload ? committed.revision : 0;
      std::optional<std::string> value;
      if (write.payload) value = seal_envelope(std::move(*write.payload), committed);
      writes_.push_back({std::move(write.key), std::move(value)});
    }
    last_.set_revision(committed.revision);
    last_.set_commit_us(committed.commit_time.us);
    return committed;
  }

  // The batch, with the counts that it changed and the record of where the log stands after it.
  std::vector<KvWrite> finish() && {
    Committed committed{last_.revision(), Time{last_.commit_us()}};
    for (const auto& [prefix, value] : counts_) {
      v1::Counter counter;
      counter.set_value(value);
      std::optional<std::string> sealed;
      if (value != 0) sealed = seal_envelope(serialize(counter), committed);
      writes_.push_back({keys::count(prefix), std::move(sealed)});
    }
    writes_.push_back({keys::last_commit(), seal_envelope(serialize(last_), committed)});
    return std::move(writes_);
  }

 private:
  Result<Revision> revision_of(const std::string& key) {
    if (auto known = revisions_.find(key); known != revisions_.end()) return known->second;
    ASSIGN_OR_RETURN(std::optional<StoredValue> value, read_value(kv_, key));
    return revisions_[key] = value ? value->revision : 0;
  }

  // Adds to the counts what the change adds and takes from the counted keys. All is read before anything is changed, so
  // that a change that can't be staged leaves nothing behind.
  Status count(const Change& change) {
    std::map<std::string_view, bool> exists;
    std::map<std::string_view, uint64_t> counts;
    for (const Write& write : change.writes) {
      std::string_view prefix = keys::counted_prefix(write.key);
      if (prefix.empty()) continue;
      if (!exists.contains(write.key)) {
        ASSIGN_OR_RETURN(Revision found, revision_of(write.key));
        exists[write.key] = found != 0;
      }
      if (!counts.contains(prefix)) {
        ASSIGN_OR_RETURN(counts[prefix], count_of(prefix));
      }
      if (exists[write.key] == write.payload.has_value()) continue;
      exists[write.key] = write.payload.has_value();
      counts[prefix] += write.payload ? 1 : -1;
    }
    for (const auto& [prefix, value] : counts) counts_[std::string(prefix)] = value;
    return Status::ok();
  }

  Result<uint64_t> count_of(std::string_view prefix) const {
    if (auto staged = counts_.find(prefix); staged != counts_.end()) return staged->second;
    v1::Counter counter;
    const std::string key = keys::count(prefix);
    ASSIGN_OR_RETURN(std::optional<StoredValue> stored, read_value(kv_, key));
    if (stored) RETURN_IF_ERROR(parse(key, stored->payload, counter));
    return counter.value();
  }

  void stage_audit(const Change& change, const Committed& committed) {
    v1::AuditRecord audit;
    audit.set_revision(committed.revision);
    audit.set_commit_us(committed.commit_time.us);
    audit.set_actor(change.actor);
    audit.set_action(change.action);
    audit.set_reason(change.reason);
    audit.set_previous_digest(last_.audit_digest());
    audit.set_previous_revision(last_.audit_revision());
    for (const Write& write : change.writes) {
      v1::ChangedRecord& changed = *audit.add_changes();
      changed.set_key(write.key);
      // What cannot be read may be written over.
      if (Result<Revision> replaced = revision_of(write.key); replaced.is_ok())
        changed.set_replaced_revision(*replaced);
      if (write.payload) {
        changed.set_value(*write.payload);
      } else {
        changed.set_deleted(true);
      }
    }
    std::string bytes = serialize(audit);
    last_.set_audit_digest(Sha256::hex_of(bytes));
    last_.set_audit_revision(committed.revision);
    writes_.push_back({keys::audit(committed.revision), seal_envelope(std::move(bytes), committed)});
  }

  const KvSnapshot& kv_;
  v1::LastCommit last_;
  std::vector<KvWrite> writes_;
  std::map<std::string, Revision> revisions_;            // of records staged or looked at; 0: there is none
  std::map<std::string, uint64_t, std::less<>> counts_;  // of the counted prefixes that the batch touches
};

}  // namespace

struct Writer::Waiter {
  Change change;
  std::optional<Result<Committed>> result;  // set by the leader, under the mutex
  std::condition_variable wake;
};

std::unique_ptr<Snapshot> Writer::snapshot() const { return std::make_unique<StoreSnapshot>(kv_.snapshot()); }

Result<Committed> Writer::commit(Change change) {
  RETURN_IF_ERROR(validate(change));
  if (ReadSet* reads = current_reads()) {
    for (const Precondition& precondition : change.preconditions) reads->add_key(precondition.key);
  }
  CRASH_POINT("store.commit.before_queue");
  Waiter self{std::move(change), std::nullopt, {}};
  std::unique_lock lock(mutex_);
  queue_.push_back(&self);
  self.wake.wait(lock, [&] { return self.result || queue_.front() == &self; });
  if (self.result) return std::move(*self.result);

  std::vector<Waiter*> group;
  size_t bytes = 0;
  for (Waiter* waiter : queue_) {
    bytes += size_of(waiter->change);
    if (!group.empty() && (bytes > kGroupBytesMax || group.size() == kGroupChangesMax)) break;
    group.push_back(waiter);
  }
  lock.unlock();
  write_group(group);
  lock.lock();

  for (Waiter* waiter : group) {
    queue_.pop_front();
    if (waiter != &self) waiter->wake.notify_one();
  }
  if (!queue_.empty()) queue_.front()->wake.notify_one();
  return std::move(*self.result);
}

void Writer::write_group(const std::vector<Waiter*>& group) {
  std::vector<Result<Committed>> results;
  Status written;
  size_t staged = 0;
  {
    std::unique_ptr<KvSnapshot> kv = kv_.snapshot();
    Result<v1::LastCommit> last = read_last(*kv);
    written = last.status();
    if (written.is_ok()) {
      Batch batch(*kv, std::move(*last));
      for (Waiter* waiter : group) {
        results.push_back(batch.stage(waiter->change, clock_.now()));
        if (results.back().is_ok()) ++staged;
      }
      std::vector<KvWrite> writes = std::move(batch).finish();
      kv.reset();  // after a full disk the Kv can only be reopened while nobody reads
      if (staged > 0) {
        written = kv_.write(writes);
        tell(writes);
      }
    }
  }
  results.resize(group.size(), Result<Committed>(Committed{}));

  std::lock_guard lock(mutex_);
  if (written.is_ok() && staged > 0) ++stats_.batches;
  for (size_t i = 0; i < group.size(); ++i) {
    if (results[i].is_ok() && !written.is_ok()) results[i] = written;
    if (results[i].is_ok()) {
      ++stats_.commits;
    } else if (results[i].status().code() == Code::kConflict) {
      ++stats_.conflicts;
    } else {
      ++stats_.failures;
    }
    group[i]->result = std::move(results[i]);
  }
}

// Also of a write that has failed: it may be on the disk all the same.
void Writer::tell(const std::vector<KvWrite>& writes) const {
  if (!on_written_) return;
  std::vector<std::string_view> keys;
  keys.reserve(writes.size());
  for (const KvWrite& write : writes) keys.push_back(write.key);
  on_written_(keys);
}

WriterStats Writer::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

size_t Writer::waiting() const {
  std::lock_guard lock(mutex_);
  return queue_.size();
}

}  // namespace freshet
