// The term of a daemon: the number of its start, by which agents and records tell it from the daemons before it. Called
// once, before anything is done in the daemon's name.
#pragma once

#include "base/time.h"
#include "daemon/store/store.h"

namespace freshet::control {

// Raises the stored term by one and returns it; it is synced. An error: the daemon must not serve, and when it is not
// kConflict or kResourceExhausted the number may be spent all the same.
Result<uint64_t> raise_term(Store& store, Time now);

}  // namespace freshet::control
