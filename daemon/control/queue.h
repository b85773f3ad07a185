// The queue as the planner needs it: the nodes, and of the work that waits as much as can make a difference to the plan
// (scheduler::lane_depth), read from the index of ready steps. So a round of placement costs as much as the cluster is
// large, however long the queue is. Reads a snapshot; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/control/context.h"
#include "daemon/store/store.h"
#include "proto/run.pb.h"
#include "scheduler/plan.h"

namespace freshet::control {

// Keys of steps are "<run key>#<step>", of inspections their own. The plan of it is, for what it holds, the plan of the
// whole queue.
Result<scheduler::Snapshot> scheduling_snapshot(const Snapshot& snapshot);

struct WaitingStep {
  std::string run_key;
  std::string step;
};
WaitingStep parse_step_item(const std::string& item_key);
bool is_step_item(const std::string& item_key);

// Nothing is placed while the disk is almost full.
scheduler::Policy placement_policy(const Context& context);

// Why a step of the run waits, by the same plan that the placement makes; empty: none waits for a place.
Result<std::string> waiting_reason(const Context& context, const Snapshot& snapshot, const v1::Run& run);

// The steps and inspections that wait for a place.
Result<uint64_t> queue_length(const Snapshot& snapshot);

}  // namespace freshet::control
