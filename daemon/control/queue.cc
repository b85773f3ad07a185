#include "daemon/control/queue.h"

#include <algorithm>
#include <map>

#include "daemon/control/run_index.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/record.pb.h"

namespace freshet::control {
namespace {

// New data is looked at before more of the old is trained on.
constexpr int32_t kInspectionPriority = 1'000'000;

std::string step_item_key(const std::string& run_key, const std::string& step) { return run_key + "#" + step; }

scheduler::WorkItem item_of(const Reference& ready) {
  keys::ReadyStep parsed = keys::parse_ready_step(ready.key);
  return {step_item_key(ready.target, parsed.step), parsed.priority, parsed.ready, parsed.slots};
}

Status add_nodes(const Snapshot& snapshot, scheduler::Snapshot* scheduling) {
  std::map<std::string, uint32_t> used;
  ASSIGN_OR_RETURN(auto attempts, active_attempts(snapshot));
  for (const auto& attempt : attempts) used[attempt.value.node()] += attempt.value.slots();
  ASSIGN_OR_RETURN(auto nodes, list<v1::NodeRecord>(snapshot, keys::nodes()));
  for (const auto& node : nodes) {
    scheduler::NodeState state;
    state.name = node.value.name();
    state.slots = node.value.slots();
    state.slots_used = used[state.name];
    state.placeable = node.value.liveness() == v1::NodeRecord::ALIVE;
    scheduling->nodes.push_back(state);
  }
  return Status::ok();
}

Status add_inspections(const Snapshot& snapshot, scheduler::Snapshot* scheduling) {
  ASSIGN_OR_RETURN(auto inspections, pending_inspections(snapshot));
  for (const auto& inspection : inspections) {
    if (inspection.value.state() != v1::Inspection::PENDING) continue;
    scheduler::WorkItem item;
    item.key = inspection.key;
    item.priority = kInspectionPriority;
    item.ready_since = Time{inspection.value.created_us()};
    scheduling->waiting.push_back(item);
  }
  return Status::ok();
}

// The lanes that hold something: keys and lengths.
Result<std::map<std::string, uint64_t>> lanes(const Snapshot& snapshot) {
  const std::string counts = keys::count("");
  ASSIGN_OR_RETURN(auto found, list<v1::Counter>(snapshot, counts + keys::ready_steps()));
  std::map<std::string, uint64_t> lanes;
  for (const auto& lane : found) lanes[lane.key.substr(counts.size())] = lane.value.value();
  return lanes;
}

}  // namespace

bool is_step_item(const std::string& item_key) { return item_key.find('#') != std::string::npos; }

WaitingStep parse_step_item(const std::string& item_key) {
  size_t mark = item_key.find('#');
  CHECK(mark != std::string::npos);
  return {item_key.substr(0, mark), item_key.substr(mark + 1)};
}

Result<scheduler::Snapshot> scheduling_snapshot(const Snapshot& snapshot) {
  scheduler::Snapshot scheduling;
  RETURN_IF_ERROR(add_nodes(snapshot, &scheduling));
  RETURN_IF_ERROR(add_inspections(snapshot, &scheduling));
  ASSIGN_OR_RETURN(auto all_lanes, lanes(snapshot));
  for (const auto& [lane, length] : all_lanes) {
    size_t depth = scheduler::lane_depth(scheduling.nodes, keys::slots_of_lane(lane));
    if (depth == 0) continue;
    ASSIGN_OR_RETURN(auto ready, list_references(snapshot, lane, "", depth));
    for (const Reference& step : ready) scheduling.waiting.push_back(item_of(step));
  }
  return scheduling;
}

scheduler::Policy placement_policy(const Context& context) {
  scheduler::Policy policy;
  if (Status room = context.admit(); !room.is_ok()) policy.hold = room.message();
  return policy;
}

Result<std::string> waiting_reason(const Context& context, const Snapshot& snapshot, const v1::Run& run) {
  std::vector<scheduler::WorkItem> of_run;
  const std::string run_key = keys::run(run.project(), run.id());
  for (const std::string& entry : run_index(run)) {
    if (entry.starts_with(keys::ready_steps())) of_run.push_back(item_of({entry, run_key, 0}));
  }
  if (of_run.empty()) return std::string();
  ASSIGN_OR_RETURN(auto scheduling, scheduling_snapshot(snapshot));
  std::erase_if(scheduling.waiting, [&](const auto& item) { return item.key.starts_with(run_key + "#"); });
  for (const auto& item : of_run) scheduling.waiting.push_back(item);
  auto plan = scheduler::make_plan(scheduling, placement_policy(context), context.clock.now());
  for (const auto& waiting : plan.waiting) {
    if (waiting.key.starts_with(run_key + "#")) return waiting.reason;
  }
  return std::string();
}

Result<uint64_t> queue_length(const Snapshot& snapshot) {
  uint64_t length = 0;
  ASSIGN_OR_RETURN(auto all_lanes, lanes(snapshot));
  for (const auto& [lane, waiting] : all_lanes) length += waiting;
  ASSIGN_OR_RETURN(auto inspections, pending_inspections(snapshot));
  for (const auto& inspection : inspections) length += inspection.value.state() == v1::Inspection::PENDING ? 1 : 0;
  return length;
}

}  // namespace freshet::control
