// What every reconciler and service of the control plane works with: interfaces only, so that the simulator can run
// the same code on a simulated world. Everything referred to outlives control.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "base/random.h"
#include "base/time.h"
#include "daemon/control/agent_link.h"
#include "daemon/control/disk_guard.h"
#include "daemon/sources/source.h"
#include "daemon/store/artifact_store.h"
#include "daemon/store/store.h"

namespace freshet::control {

struct Context {
  Store& store;
  const Clock& clock;
  Random& random;
  SourceHub& sources;
  ArtifactStore& artifacts;
  AgentLink& agents;
  // Asks all loops to run soon, since something outside the store has changed; any thread.
  std::function<void()> wake;
  // Of this daemon; on disk before anything else happens.
  uint64_t term = 0;
  std::string version;
  uint32_t heartbeat_ms = 1000;
  uint32_t lease_ms = 15000;
  const DiskGuard* disk = nullptr;  // null: there is always room
  // Asks those loops to run soon that have read what a commit wrote; empty: all.
  std::function<void()> wake_changed = {};

  // Whether work of this size may be taken on: called before anything that adds to what is stored.
  Status admit(uint64_t bytes = 0) const { return disk == nullptr ? Status::ok() : disk->admit(bytes); }

  // Commits, and wakes the loops so that whoever reads what changed comes round. All of control commits through here.
  Result<Committed> commit(Change change) {
    const bool audited = change.audited;
    auto result = store.commit(std::move(change));
    if (result.is_ok() && audited) (wake_changed ? wake_changed : wake)();
    return result;
  }
};

}  // namespace freshet::control
