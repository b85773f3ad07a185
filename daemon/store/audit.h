// The audit log read back: whether its chain of digests holds, and the state that it describes. Reads a snapshot,
// page by page; writes nothing. Any thread.
#pragma once

#include <map>
#include <string>

#include "daemon/store/store.h"

namespace freshet {

// kCorrupt, naming the record, when one was changed, is missing or does not lie under its own number; also when the
// newest is not the one that the writer recorded as its last.
Status verify_audit(const Snapshot& snapshot);

// The records that replaying the whole log gives: every key written by audited changes, as it is stored now.
Result<std::map<std::string, StoredValue>> replay_audit(const Snapshot& snapshot);

}  // namespace freshet
