// Ranks as forked processes of one machine that talk over shared memory: tests, benchmarks, and steps without mpirun.
// Each ordered pair of ranks has a byte queue; each rank has one futex word that others ring when they have moved a
// queue of its. A rank that ends early ends the others' next wait with an error, so nothing hangs.
#pragma once

#include <functional>

#include "base/status.h"
#include "worker/comm/communicator.h"

namespace freshet::worker {

// Forks `ranks` children that run `body` and exit (without running the caller's destructors or atexit handlers), and
// waits for all. The first failed rank's Status, in rank order, with "rank N: " in front; a rank that did not fail by
// itself but lost a peer counts after one that did. Call it from a process with one thread. What the body computes
// leaves through files or shared memory.
Status run_local_gang(int ranks, const std::function<Status(Communicator&)>& body);

}  // namespace freshet::worker
