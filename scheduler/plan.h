// Which waiting work goes on which node: a pure function of a snapshot, so the same input gives the same bytes, in any
// order of its lists. A gang sits on one node, whole or not at all. Called by control's placement loop, which re-checks
// and commits; nothing here mints ids, reads a clock or knows what a key means. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/time.h"

namespace freshet::scheduler {

struct NodeState {
  std::string name;  // unique in the snapshot
  uint32_t slots = 0;
  uint32_t slots_used = 0;
  bool placeable = false;  // alive and not drained
};

struct WorkItem {
  std::string key;  // opaque, unique in the snapshot
  int32_t priority = 0;
  Time ready_since;
  uint32_t slots = 1;  // 0 counts as 1
};

struct Snapshot {
  std::vector<NodeState> nodes;
  std::vector<WorkItem> waiting;
};

struct Policy {
  // Whether work may pass an earlier gang that waits for slots, on nodes that this gang does not wait for.
  bool backfill = true;
  // Why nothing may be placed now; empty: placing goes on.
  std::string hold = {};
};

struct Placement {
  std::string key;
  std::string node;
  bool operator==(const Placement&) const = default;
};

// Why an item stays in the queue. Codes: "no_node" (no node takes work now that could hold it), "too_big" (no node is
// large enough even when empty), "held" (Policy::hold), "no_slots" (must wait for running work to end), "behind" (what
// is free is kept for earlier work).
struct Waiting {
  std::string key;
  std::string reason_code;
  std::string reason;  // a sentence for a person
  bool operator==(const Waiting&) const = default;
};

// Both lists are in queue order: priority (highest first), ready_since, key. Every item is in exactly one of them.
struct Plan {
  std::vector<Placement> placements;
  std::vector<Waiting> waiting;
  bool operator==(const Plan&) const = default;
};

// How many waiting items of this many slots, the first in queue order, can make a difference to the plan: leaving out
// all that stand behind them changes neither where the others go nor why they wait. For a caller with a long queue.
size_t lane_depth(const std::vector<NodeState>& nodes, uint32_t slots);

// Goes through the queue and puts each gang on the node that it fills best. The first gang that must wait for slots
// reserves the node with the most free ones, so later work can't starve it.
Plan make_plan(const Snapshot& snapshot, const Policy& policy, Time now);

}  // namespace freshet::scheduler
