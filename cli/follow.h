// Following a run until it ends: one line that is drawn anew on a terminal, else one line a change. Outlives a daemon
// that is started again. One thread; blocks.
#pragma once

#include <string>

#include "base/status.h"
#include "cli/client.h"
#include "cli/session.h"
#include "proto/run.pb.h"

namespace freshet::cli {

// The run at its end. unavailable when the daemon has been away for a minute; cancelled when nobody reads our output.
Result<v1::Run> follow_run(Session& session, Client& client, const std::string& run_id);

// Follows it, says how it ended (or prints it with --json), and gives the exit code of that.
Result<int> follow_to_end(Session& session, Client& client, const std::string& run_id);

}  // namespace freshet::cli
