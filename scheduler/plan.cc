#include "scheduler/plan.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "scheduler/text.h"

namespace freshet::scheduler {
namespace {

uint32_t slots_of(const WorkItem& item) { return std::max(item.slots, 1U); }

uint32_t free_slots(const NodeState& node) { return node.slots > node.slots_used ? node.slots - node.slots_used : 0; }

std::vector<NodeState> sorted_nodes(const Snapshot& snapshot) {
  auto nodes = snapshot.nodes;
  std::sort(nodes.begin(), nodes.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return nodes;
}

std::vector<const WorkItem*> queue_of(const Snapshot& snapshot) {
  std::vector<const WorkItem*> queue;
  for (const auto& item : snapshot.waiting) queue.push_back(&item);
  std::sort(queue.begin(), queue.end(), [](const WorkItem* a, const WorkItem* b) {
    return std::tie(b->priority, a->ready_since, a->key) < std::tie(a->priority, b->ready_since, b->key);
  });
  return queue;
}

// The state of one pass through the queue.
class Planner {
 public:
  Planner(const Snapshot& snapshot, const Policy& policy) : policy_(policy), nodes_(sorted_nodes(snapshot)) {}

  void consider(const WorkItem& item) {
    if (!policy_.hold.empty()) return wait(item, "held", policy_.hold);
    uint32_t need = slots_of(item);
    if (no_node_holds(item, need)) return;
    if (first_waiting_ == nullptr || policy_.backfill) {
      if (NodeState* node = best_fit(need)) {
        node->slots_used += need;
        plan_.placements.push_back({item.key, node->name});
        return;
      }
    }
    wait_for_slots(item, need);
  }

  Plan take() { return std::move(plan_); }

 private:
  void wait(const WorkItem& item, const char* code, std::string reason) {
    plan_.waiting.push_back({item.key, code, std::move(reason)});
  }

  // Work that no node could hold now, even an empty one, waits for a change of the cluster and holds nothing back.
  bool no_node_holds(const WorkItem& item, uint32_t need) {
    const NodeState* largest = nullptr;  // of all
    bool any_placeable = false;
    for (const auto& node : nodes_) {
      if (node.placeable && node.slots >= need) return false;
      any_placeable = any_placeable || node.placeable;
      if (largest == nullptr || node.slots > largest->slots) largest = &node;
    }
    std::string needs = "needs " + counted(need, "slot") + " on one node; ";
    if (largest == nullptr) {
      wait(item, "no_node", needs + "no node is connected");
    } else if (largest->slots < need) {
      wait(item, "too_big", needs + "the largest node, " + largest->name + ", has " + std::to_string(largest->slots));
    } else {
      wait(item, "no_node",
           needs + (any_placeable ? "no node that large takes work now: " : "no node takes work now: ") +
               largest->name + " has " + std::to_string(largest->slots) + " but is not available");
    }
    return true;
  }

  // The unreserved node that the gang leaves the fewest slots free on.
  NodeState* best_fit(uint32_t need) {
    NodeState* best = nullptr;
    for (auto& node : nodes_) {
      if (!node.placeable || free_slots(node) < need || reserved_.contains(node.name)) continue;
      if (best == nullptr || free_slots(node) < free_slots(*best)) best = &node;
    }
    return best;
  }

  const NodeState* roomiest(uint32_t need, bool unreserved_only) const {
    const NodeState* roomiest = nullptr;
    for (const auto& node : nodes_) {
      if (!node.placeable || node.slots < need) continue;
      if (unreserved_only && reserved_.contains(node.name)) continue;
      if (roomiest == nullptr || free_slots(node) > free_slots(*roomiest)) roomiest = &node;
    }
    return roomiest;
  }

  // It waits for the node that has most to offer, and keeps what is free there from later work. The largest number of
  // free slots then never falls from one round to the next, so the first gang's turn comes, and then the next one's.
  void wait_for_slots(const WorkItem& item, uint32_t need) {
    const NodeState* node = roomiest(need, false);
    std::string needs = "needs " + counted(need, "slot") + " on one node; ";
    if (free_slots(*node) >= need) {
      auto reservation = reserved_.find(node->name);
      const std::string& before = reservation == reserved_.end() ? first_waiting_->key : reservation->second;
      wait(item, "behind", needs + "the free ones are kept for " + before + ", which is before it in the queue");
    } else {
      wait(item, "no_slots",
           needs + "the most free ones are " + std::to_string(free_slots(*node)) + " of " +
               std::to_string(node->slots) + " on " + node->name);
    }
    if (const NodeState* kept = roomiest(need, true)) reserved_.emplace(kept->name, item.key);
    if (first_waiting_ == nullptr) first_waiting_ = &item;
  }

  const Policy& policy_;
  std::vector<NodeState> nodes_;
  std::map<std::string, std::string> reserved_;  // node: key of the gang that it is kept for
  const WorkItem* first_waiting_ = nullptr;      // for slots
  Plan plan_;
};

}  // namespace

// Each item of the lane that the planner considers is placed, or reserves one more node that is large enough, or finds
// all of those reserved, and so will every item of the lane behind it: it changes nothing for anybody.
size_t lane_depth(const std::vector<NodeState>& nodes, uint32_t slots) {
  uint32_t need = std::max(slots, 1U);
  size_t depth = 0;
  for (const auto& node : nodes) {
    if (node.placeable && node.slots >= need) depth += 1 + free_slots(node) / need;
  }
  return depth;
}

Plan make_plan(const Snapshot& snapshot, const Policy& policy, Time /*now*/) {
  Planner planner(snapshot, policy);
  for (const WorkItem* item : queue_of(snapshot)) planner.consider(*item);
  return planner.take();
}

}  // namespace freshet::scheduler
