// Reconciler: one control loop. It reads desired and observed state from a snapshot, acts, and says when it wants to
// run again; events only wake it earlier. Synchronous and without threads, so that the simulator drives the same code;
// in the daemon one LoopRunner calls all of them, one at a time, on its thread.
#pragma once

#include <string_view>

#include "base/time.h"

namespace freshet::control {

class Reconciler {
 public:
  virtual ~Reconciler() = default;

  // For logs, metrics and the table of loops: "placement".
  virtual std::string_view name() const = 0;

  // Does what is due at `now` (wall time) and returns when it wants to run again without being woken; Time::never() for
  // not at all. It may be ended between any two writes, so a second call with the same state must do no harm.
  virtual Time reconcile(Time now) = 0;
};

}  // namespace freshet::control
