// Typed access to the store: records as protobuf messages instead of bytes. The functions read through a Snapshot and
// collect writes in a Change; nothing here commits. Payloads are serialised deterministically, so the same message is
// the same bytes. A payload that does not parse is kCorrupt and names its key. Any thread.
#pragma once

#include <google/protobuf/message_lite.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/store/store.h"

namespace freshet {

// A record with the key it lies under and what a Precondition needs.
template <class Message>
struct Record {
  std::string key;
  Message value;
  Revision revision = 0;
  Time commit_time;
};

// An entry of an index: its own key, and the key of the record that it points to.
struct Reference {
  std::string key;
  std::string target;
  Revision revision = 0;
};

std::string serialize(const google::protobuf::MessageLite& message);
Status parse(std::string_view key, const std::string& payload, google::protobuf::MessageLite& message);

// nullopt: no such record.
template <class Message>
Result<std::optional<Record<Message>>> get(const Snapshot& snapshot, std::string_view key) {
  ASSIGN_OR_RETURN(std::optional<StoredValue> stored, snapshot.get(key));
  if (!stored) return std::optional<Record<Message>>();
  Record<Message> record{std::string(key), {}, stored->revision, stored->commit_time};
  RETURN_IF_ERROR(parse(key, stored->payload, record.value));
  return std::optional<Record<Message>>(std::move(record));
}

// kNotFound with `what` ("run 4f..") when there is no such record.
template <class Message>
Result<Record<Message>> require(const Snapshot& snapshot, std::string_view key, std::string_view what) {
  ASSIGN_OR_RETURN(std::optional<Record<Message>> record, get<Message>(snapshot, key));
  if (!record) return not_found(std::string(what) + " does not exist");
  return std::move(*record);
}

// The records under a prefix; the arguments are those of Snapshot::scan. Page on with the last record's key.
template <class Message>
Result<std::vector<Record<Message>>> list(const Snapshot& snapshot, std::string_view prefix,
                                          std::string_view after = {}, size_t limit = 0, bool reverse = false) {
  ASSIGN_OR_RETURN(std::vector<KeyValue> found, snapshot.scan(prefix, after, limit, reverse));
  std::vector<Record<Message>> records;
  records.reserve(found.size());
  for (KeyValue& item : found) {
    Record<Message>& record = records.emplace_back();
    RETURN_IF_ERROR(parse(item.key, item.value.payload, record.value));
    record.key = std::move(item.key);
    record.revision = item.value.revision;
    record.commit_time = item.value.commit_time;
  }
  return records;
}

Result<std::vector<Reference>> list_references(const Snapshot& snapshot, std::string_view prefix,
                                               std::string_view after = {}, size_t limit = 0, bool reverse = false);
Result<std::optional<Reference>> get_reference(const Snapshot& snapshot, std::string_view key);

// The records that an index points to, in the index' order. A reference to nothing is kCorrupt: both are written in
// one change. Page on with the last Reference's key (list_references), not with the record's.
template <class Message>
Result<std::vector<Record<Message>>> list_referenced(const Snapshot& snapshot, std::string_view prefix,
                                                     std::string_view after = {}, size_t limit = 0,
                                                     bool reverse = false) {
  ASSIGN_OR_RETURN(std::vector<Reference> references, list_references(snapshot, prefix, after, limit, reverse));
  std::vector<Record<Message>> records;
  records.reserve(references.size());
  for (const Reference& reference : references) {
    ASSIGN_OR_RETURN(std::optional<Record<Message>> record, get<Message>(snapshot, reference.target));
    if (!record) return corrupt("index entry " + reference.key + " points to nothing: " + reference.target);
    records.push_back(std::move(*record));
  }
  return records;
}

// How many keys there are under a prefix that the writer counts (keys::counted_prefix); one read.
Result<uint64_t> count(const Snapshot& snapshot, std::string_view prefix);

void put(Change& change, std::string key, const google::protobuf::MessageLite& message);
void put_reference(Change& change, std::string key, std::string target);
void erase(Change& change, std::string key);

// The change holds only if the record is still the one that was read.
void expect(Change& change, std::string key, Revision revision);
template <class Message>
void expect(Change& change, const Record<Message>& record) {
  expect(change, record.key, record.revision);
}
// The change holds only if there is no such record.
void expect_absent(Change& change, std::string key);

// put() of a changed record with expect() of the one that was read.
template <class Message>
void update(Change& change, const Record<Message>& record) {
  expect(change, record);
  put(change, record.key, record.value);
}
// put() of a new record with expect_absent().
void create(Change& change, std::string key, const google::protobuf::MessageLite& message);

}  // namespace freshet
