// Crash points: named places in production code at which a test may end the process, to show that whatever dies there
// is made good by the next start. They stand before and after every sync, rename, spawn, send and reply. Unarmed, a
// point costs one relaxed load. Any thread. Not for functions that must not throw: the simulator leaves a point by an
// exception.
#pragma once

#include <atomic>
#include <functional>
#include <string_view>

#include "base/status.h"

namespace freshet {

// The name is a literal, unique in the tree: "area.thing.moment", as in "store.batch.before_sync".
#define CRASH_POINT(name)                                                           \
  do {                                                                              \
    if (::freshet::crash_points_armed.load(std::memory_order_relaxed)) [[unlikely]] \
      ::freshet::reach_crash_point(name);                                           \
  } while (false)

extern std::atomic<bool> crash_points_armed;

// Calls the handler, if there is one.
void reach_crash_point(std::string_view name);

// Replaces what happens at a point; empty: nothing. The handler may end the process, throw, or reach a point itself; it
// is called on any thread, on several at the same time.
void set_crash_point_handler(std::function<void(std::string_view name)> handler);

// Arms the points as the environment says; every program of ours calls it first. Without these variables it does
// nothing.
//   FRESHET_CRASH_AT=NAME[:COUNT]  SIGKILL to this process when it reaches NAME for the COUNT-th time (default 1)
//   FRESHET_CRASH_ONCE=FILE        only the first process to make this file is ended; others and later starts go on
//   FRESHET_CRASH_LOG=FILE         appends "PID NAME" each time that a point is reached
// kInvalidArgument for a COUNT that is no number.
Status arm_crash_points_from_environment();

}  // namespace freshet
