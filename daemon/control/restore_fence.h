// What a store that was restored from a backup must forget before a daemon starts on it. After the backup the old
// daemon had raised its term and placed further attempts, and agents remember both: so the term jumps past any that an
// agent may have obeyed, the epochs of all unfinished work past any that an agent may have accepted, and attempts of
// the old daemon are given up. Called once, offline.
#pragma once

#include "base/time.h"
#include "daemon/store/store.h"

namespace freshet::control {

Status fence_restored(Store& store, Time now, Time backed_up);

}  // namespace freshet::control
