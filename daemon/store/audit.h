// The audit log read back: whether its chain of digests holds, where it is broken first, and the state that it
// describes. Each record holds the digest and the revision of the one before it, and the writer's own record those of
// the newest. That chain shows what was flipped, deleted, reordered or cut off; a log that was written anew from some
// record on, with all digests, shows only against a head that was kept elsewhere. Reads a snapshot, page by page;
// writes nothing. Any thread.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/store/store.h"
#include "proto/audit.pb.h"

namespace freshet {

// Where the log ends: its newest record. Revision 0 and no digest: it is empty.
Result<v1::AuditHead> audit_head(const Snapshot& snapshot);

// How far a check has come; empty: nothing was checked.
struct AuditPosition {
  Revision revision = 0;  // of the last record that was found good
  std::string digest;     // its SHA-256
};

struct AuditPage {
  uint64_t checked = 0;  // records of this page that hold
  AuditPosition position;
  bool is_done = false;  // the end was reached, and is the one that the writer recorded
  std::optional<v1::AuditProblem> problem;
};

// Checks at most `limit` records behind `from`, and the heads that lie there. A later snapshot may go on where an
// earlier one has come to: the log only grows. An error is about reading, never about what was read.
Result<AuditPage> check_audit(const Snapshot& snapshot, const AuditPosition& from, size_t limit,
                              const std::vector<v1::AuditHead>& heads);

// The whole log: kCorrupt with the first problem's text.
Status verify_audit(const Snapshot& snapshot, const std::vector<v1::AuditHead>& heads = {});

// The records that replaying the whole log gives: every key written by audited changes, as it is stored now.
Result<std::map<std::string, StoredValue>> replay_audit(const Snapshot& snapshot);

}  // namespace freshet
