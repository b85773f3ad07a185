#include "daemon/store/audit.h"

#include <functional>

#include "base/sha256.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/record.pb.h"

namespace freshet {
namespace {

constexpr size_t kPage = 1000;

// Calls `visit` with each audit record's key, its bytes and the parsed record, in order.
Status for_each_audit(
    const Snapshot& snapshot,
    const std::function<Status(const std::string&, const std::string&, const v1::AuditRecord&)>& visit) {
  std::string after;
  for (;;) {
    ASSIGN_OR_RETURN(std::vector<KeyValue> page, snapshot.scan(keys::audits(), after, kPage));
    if (page.empty()) return Status::ok();
    for (const KeyValue& item : page) {
      v1::AuditRecord record;
      RETURN_IF_ERROR(parse(item.key, item.value.payload, record));
      RETURN_IF_ERROR(visit(item.key, item.value.payload, record));
    }
    after = page.back().key;
  }
}

}  // namespace

Status verify_audit(const Snapshot& snapshot) {
  std::string digest;  // of the record before
  Revision newest = 0;
  RETURN_IF_ERROR(for_each_audit(
      snapshot, [&](const std::string& key, const std::string& bytes, const v1::AuditRecord& record) -> Status {
        if (keys::audit(record.revision()) != key) {
          return corrupt("the audit record under " + key + " says that it is revision " +
                         std::to_string(record.revision()));
        }
        if (record.previous_digest() != digest) {
          return corrupt("the audit log is broken before " + key + ": the record before it was changed or is missing");
        }
        digest = Sha256::hex_of(bytes);
        newest = record.revision();
        return Status::ok();
      }));
  v1::LastCommit last;
  ASSIGN_OR_RETURN(auto stored, get<v1::LastCommit>(snapshot, keys::last_commit()));
  if (stored) last = stored->value;
  if (last.audit_digest() != digest || newest > last.revision()) {
    return corrupt("the audit log does not end with the writer's last record; its newest is revision " +
                   std::to_string(newest));
  }
  return Status::ok();
}

Result<std::map<std::string, StoredValue>> replay_audit(const Snapshot& snapshot) {
  std::map<std::string, StoredValue> state;
  RETURN_IF_ERROR(
      for_each_audit(snapshot, [&](const std::string&, const std::string&, const v1::AuditRecord& record) -> Status {
        for (const v1::ChangedRecord& changed : record.changes()) {
          if (changed.deleted()) {
            state.erase(changed.key());
          } else {
            state[changed.key()] = {changed.value(), record.revision(), Time{record.commit_us()}};
          }
        }
        return Status::ok();
      }));
  return state;
}

}  // namespace freshet
