#include "tests/audit/edits.h"

#include <rocksdb/db.h>

#include <functional>
#include <memory>

#include "base/sha256.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/record.pb.h"

namespace freshet::audit_edits {
namespace {

// The log as it lies in RocksDB.
class Log {
 public:
  static Result<std::unique_ptr<Log>> open(const std::filesystem::path& database) {
    auto log = std::make_unique<Log>();
    rocksdb::Options options;
    rocksdb::DB* db = nullptr;
    rocksdb::Status opened = rocksdb::DB::Open(options, database.string(), &db);
    if (!opened.ok()) return internal(opened.ToString());
    log->db_.reset(db);
    std::unique_ptr<rocksdb::Iterator> at(db->NewIterator({}));
    for (at->Seek(keys::audits()); at->Valid() && at->key().starts_with(keys::audits()); at->Next()) {
      log->keys_.push_back(at->key().ToString());
      log->values_.push_back(at->value().ToString());
    }
    return log;
  }

  size_t size() const { return keys_.size(); }
  const std::string& value(size_t i) const { return values_[i]; }
  v1::StoredRecord envelope(size_t i) const {
    v1::StoredRecord envelope;
    CHECK(envelope.ParseFromString(values_[i]));
    return envelope;
  }
  v1::AuditRecord record(size_t i) const {
    v1::AuditRecord record;
    CHECK(record.ParseFromString(envelope(i).payload()));
    return record;
  }
  uint64_t revision(size_t i) const { return record(i).revision(); }

  void put(size_t i, const std::string& value) { put(keys_[i], value); }
  void put(size_t i, const v1::AuditRecord& record) {
    v1::StoredRecord sealed = envelope(i);
    sealed.set_revision(record.revision());
    sealed.set_commit_us(record.commit_us());
    sealed.set_payload(serialize(record));
    values_[i] = serialize(sealed);
    put(i, values_[i]);
  }
  void put(const std::string& key, const std::string& value) { CHECK(db_->Put({}, key, value).ok()); }
  void erase(size_t i) { CHECK(db_->Delete({}, keys_[i]).ok()); }

  // The writer's record of the newest, as if record `i` were that.
  void set_newest(size_t i) {
    std::string bytes;
    CHECK(db_->Get({}, keys::last_commit(), &bytes).ok());
    v1::StoredRecord sealed;
    v1::LastCommit last;
    CHECK(sealed.ParseFromString(bytes) && last.ParseFromString(sealed.payload()));
    last.set_audit_revision(revision(i));
    last.set_audit_digest(Sha256::hex_of(envelope(i).payload()));
    sealed.set_payload(serialize(last));
    put(keys::last_commit(), serialize(sealed));
  }

 private:
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<std::string> keys_, values_;
};

using Heads = std::vector<v1::AuditHead>;

Edit named(const Log& log, size_t i, const std::string& kind) {
  return {kind, kind + " of revision " + std::to_string(log.revision(i)), log.revision(i)};
}

Edit flip(Log& log, const Heads&, Random& random) {
  const size_t i = random.next() % log.size();
  std::string value = log.value(i);
  const size_t bit = random.next() % (value.size() * 8);
  value[bit / 8] = static_cast<char>(value[bit / 8] ^ (1 << (bit % 8)));
  log.put(i, value);
  Edit edit = named(log, i, "flipped bit");
  edit.text += ", bit " + std::to_string(bit);
  return edit;
}

Edit erase(Log& log, const Heads&, Random& random) {
  const size_t i = random.next() % log.size();
  log.erase(i);
  return named(log, i, "deleted record");
}

std::pair<size_t, size_t> draw_two(const Log& log, Random& random) {
  const size_t i = random.next() % (log.size() - 1);
  return {i, i + 1 + random.next() % (log.size() - i - 1)};
}

Edit swap(Log& log, const Heads&, Random& random) {
  const auto [i, j] = draw_two(log, random);
  log.put(i, log.value(j));
  log.put(j, log.value(i));
  return named(log, i, "swapped records");
}

// Each says that it belongs where it lies.
Edit swap_with_numbers(Log& log, const Heads&, Random& random) {
  const auto [i, j] = draw_two(log, random);
  v1::AuditRecord one = log.record(i), other = log.record(j);
  Edit edit = named(log, i, "swapped records with their numbers");
  const uint64_t revision = one.revision();
  one.set_revision(other.revision());
  other.set_revision(revision);
  log.put(i, other);
  log.put(j, one);
  return edit;
}

// The newest of those that are gone is what the writer knows of.
Edit cut(Log& log, const Heads&, Random& random) {
  const size_t first = log.size() - 1 - random.next() % std::min<size_t>(log.size(), 30);
  for (size_t i = first; i < log.size(); ++i) log.erase(i);
  return named(log, log.size() - 1, "cut-off tail");
}

// The writer's record says so too: only a kept head can tell.
Edit cut_whole(Log& log, const Heads& heads, Random& random) {
  const size_t first = 1 + random.next() % (log.size() - 1);
  log.set_newest(first - 1);
  for (size_t i = first; i < log.size(); ++i) log.erase(i);
  for (const v1::AuditHead& head : heads) {
    if (head.revision() >= log.revision(first)) {
      return {"cut-off tail with the writer's record", "cut from revision " + std::to_string(log.revision(first)),
              head.revision()};
    }
  }
  CHECK(false);
  return {};
}

// Another reason in one record, and all digests behind it as if it had always been so.
Edit rewrite(Log& log, const Heads& heads, Random& random) {
  const size_t first = random.next() % log.size();
  v1::AuditRecord record = log.record(first);
  record.set_reason("another reason");
  log.put(first, record);
  for (size_t i = first + 1; i < log.size(); ++i) {
    v1::AuditRecord next = log.record(i);
    next.set_previous_digest(Sha256::hex_of(log.envelope(i - 1).payload()));
    log.put(i, next);
  }
  log.set_newest(log.size() - 1);
  for (const v1::AuditHead& head : heads) {
    if (head.revision() >= log.revision(first)) {
      return {"rewritten log", "rewritten from revision " + std::to_string(log.revision(first)), head.revision()};
    }
  }
  CHECK(false);
  return {};
}

// A record that fits behind the newest, which the writer does not know.
Edit add(Log& log, const Heads&, Random&) {
  const size_t newest = log.size() - 1;
  v1::AuditRecord record = log.record(newest);
  record.set_previous_digest(Sha256::hex_of(log.envelope(newest).payload()));
  record.set_previous_revision(record.revision());
  record.set_revision(record.revision() + 100);
  v1::StoredRecord sealed = log.envelope(newest);
  sealed.set_revision(record.revision());
  sealed.set_payload(serialize(record));
  log.put(keys::audit(record.revision()), serialize(sealed));
  return {"added record", "added revision " + std::to_string(record.revision()), record.revision()};
}

}  // namespace

Result<Edit> make_edit(const std::filesystem::path& database, const Heads& heads, Random& random) {
  using Make = Edit (*)(Log&, const Heads&, Random&);
  static constexpr Make kMakes[] = {flip, flip, flip, erase, swap, swap_with_numbers, cut, cut_whole, rewrite, add};
  ASSIGN_OR_RETURN(auto log, Log::open(database));
  return kMakes[random.next() % std::size(kMakes)](*log, heads, random);
}

}  // namespace freshet::audit_edits
