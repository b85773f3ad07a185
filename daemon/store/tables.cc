#include "daemon/store/tables.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "daemon/store/keys.h"
#include "proto/record.pb.h"

namespace freshet {
namespace {

Reference reference_of(std::string key, StoredValue value) {
  return {std::move(key), std::move(value.payload), value.revision};
}

}  // namespace

std::string serialize(const google::protobuf::MessageLite& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  CHECK(message.SerializeToCodedStream(&coded));
  coded.Trim();
  return bytes;
}

Status parse(std::string_view key, const std::string& payload, google::protobuf::MessageLite& message) {
  if (message.ParseFromString(payload)) return Status::ok();
  return corrupt("the record " + std::string(key) + " is not a " + message.GetTypeName());
}

Result<std::vector<Reference>> list_references(const Snapshot& snapshot, std::string_view prefix,
                                               std::string_view after, size_t limit, bool reverse) {
  ASSIGN_OR_RETURN(std::vector<KeyValue> found, snapshot.scan(prefix, after, limit, reverse));
  std::vector<Reference> references;
  references.reserve(found.size());
  for (KeyValue& item : found) references.push_back(reference_of(std::move(item.key), std::move(item.value)));
  return references;
}

Result<std::optional<Reference>> get_reference(const Snapshot& snapshot, std::string_view key) {
  ASSIGN_OR_RETURN(std::optional<StoredValue> stored, snapshot.get(key));
  if (!stored) return std::optional<Reference>();
  return std::optional<Reference>(reference_of(std::string(key), std::move(*stored)));
}

Result<uint64_t> count(const Snapshot& snapshot, std::string_view prefix) {
  ASSIGN_OR_RETURN(auto counter, get<v1::Counter>(snapshot, keys::count(prefix)));
  return counter ? counter->value.value() : 0;
}

void put(Change& change, std::string key, const google::protobuf::MessageLite& message) {
  change.writes.push_back({std::move(key), serialize(message)});
}

void put_reference(Change& change, std::string key, std::string target) {
  change.writes.push_back({std::move(key), std::move(target)});
}

void erase(Change& change, std::string key) { change.writes.push_back({std::move(key), std::nullopt}); }

void expect(Change& change, std::string key, Revision revision) {
  change.preconditions.push_back({std::move(key), revision});
}

void expect_absent(Change& change, std::string key) { expect(change, std::move(key), 0); }

void create(Change& change, std::string key, const google::protobuf::MessageLite& message) {
  expect_absent(change, key);
  put(change, std::move(key), message);
}

}  // namespace freshet
