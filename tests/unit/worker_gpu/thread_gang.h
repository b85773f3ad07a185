// Ranks as threads of one process, which share its device: a process that has used a GPU can't fork ranks that use it,
// too. Tests only.
#pragma once

#include <functional>

#include "base/status.h"
#include "worker/comm/communicator.h"

namespace freshet::worker {

// As run_local_gang(): runs `body` on `ranks` threads and waits for all; the first failed rank's Status, with
// "rank N: " in front. A rank that returns ends the others' waits for it with an error.
Status run_thread_gang(int ranks, const std::function<Status(Communicator&)>& body);

}  // namespace freshet::worker
