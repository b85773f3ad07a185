#include "daemon/control/term.h"

#include "base/crash_point.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/record.pb.h"

namespace freshet::control {

Result<uint64_t> raise_term(Store& store, Time now) {
  auto snapshot = store.snapshot();
  ASSIGN_OR_RETURN(auto stored, get<v1::DaemonTerm>(*snapshot, keys::daemon_term()));
  v1::DaemonTerm term;
  term.set_term(stored ? stored->value.term() + 1 : 1);
  term.set_started_us(now.us);
  Change change;
  change.actor = "freshetd";
  change.action = "start";
  change.reason = "term " + std::to_string(term.term());
  expect(change, keys::daemon_term(), stored ? stored->revision : 0);
  put(change, keys::daemon_term(), term);
  CRASH_POINT("daemon.term.before_commit");
  RETURN_IF_ERROR(store.commit(std::move(change)).status());
  CRASH_POINT("daemon.term.after_commit");
  return term.term();
}

}  // namespace freshet::control
