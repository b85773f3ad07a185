#include "scheduler/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "base/random.h"

namespace freshet::scheduler {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

NodeState node(std::string name, uint32_t slots, uint32_t used = 0, bool placeable = true) {
  return {std::move(name), slots, used, placeable};
}

WorkItem item(std::string key, uint32_t slots, int64_t ready_s = 1, int32_t priority = 0) {
  return {std::move(key), priority, Time{} + Duration::seconds(ready_s), slots};
}

Plan plan(std::vector<NodeState> nodes, std::vector<WorkItem> waiting, Policy policy = {}) {
  return make_plan({std::move(nodes), std::move(waiting)}, policy, Time{} + Duration::seconds(100));
}

std::string to_text(const Plan& plan) {
  std::string text;
  for (const auto& p : plan.placements) text += p.key + " -> " + p.node + "\n";
  for (const auto& w : plan.waiting) text += w.key + ": " + w.reason_code + ": " + w.reason + "\n";
  return text;
}

TEST(Plan, PlacesAGangWholeOnOneNode) {
  auto result = plan({node("a", 2), node("b", 2)}, {item("gang", 3)});
  EXPECT_THAT(result.placements, IsEmpty());
  EXPECT_EQ(to_text(result), "gang: too_big: needs 3 slots on one node; the largest node, a, has 2\n");
  result = plan({node("a", 2), node("b", 3)}, {item("gang", 3)});
  EXPECT_THAT(result.placements, ElementsAre(Placement{"gang", "b"}));
}

TEST(Plan, FillsTheNodeThatFitsBest) {
  auto result = plan({node("a", 8), node("b", 4, 2), node("c", 4)}, {item("x", 2), item("y", 3, 2)});
  EXPECT_THAT(result.placements, ElementsAre(Placement{"x", "b"}, Placement{"y", "c"}));
}

TEST(Plan, GoesByPriorityThenReadySinceThenKey) {
  auto result =
      plan({node("a", 4)}, {item("0-late", 1, 9), item("b", 1, 5), item("a", 1, 5), item("urgent", 1, 99, 7)});
  EXPECT_THAT(result.placements, ElementsAre(Placement{"urgent", "a"}, Placement{"a", "a"}, Placement{"b", "a"},
                                             Placement{"0-late", "a"}));
}

TEST(Plan, PlacesNothingWhileItIsHeld) {
  Policy held;
  held.hold = "the disk is almost full";
  auto result = plan({node("a", 4)}, {item("x", 1), item("big", 9)}, held);
  EXPECT_EQ(to_text(result), "big: held: the disk is almost full\nx: held: the disk is almost full\n");
}

TEST(Plan, SaysWhyWorkWaits) {
  EXPECT_EQ(to_text(plan({}, {item("x", 1)})), "x: no_node: needs 1 slot on one node; no node is connected\n");
  EXPECT_EQ(to_text(plan({node("a", 4, 0, false)}, {item("x", 2)})),
            "x: no_node: needs 2 slots on one node; no node takes work now: a has 4 but is not available\n");
  EXPECT_EQ(to_text(plan({node("a", 1), node("b", 4, 0, false)}, {item("x", 2)})),
            "x: no_node: needs 2 slots on one node; no node that large takes work now: b has 4 but is not available\n");
  EXPECT_EQ(to_text(plan({node("a", 4, 3)}, {item("x", 2)})),
            "x: no_slots: needs 2 slots on one node; the most free ones are 1 of 4 on a\n");
}

TEST(Plan, KeepsFreeSlotsForTheGangThatWaitedLonger) {
  auto result = plan({node("a", 4, 2)}, {item("big", 4, 1), item("small", 1, 2)});
  EXPECT_EQ(
      to_text(result),
      "big: no_slots: needs 4 slots on one node; the most free ones are 2 of 4 on a\n"
      "small: behind: needs 1 slot on one node; the free ones are kept for big, which is before it in the queue\n");
}

TEST(Plan, BackfillsNodesThatNobodyWaitsFor) {
  std::vector<NodeState> nodes = {node("a", 4, 2), node("b", 2)};
  auto result = plan(nodes, {item("big", 4, 1), item("small", 1, 2)});
  EXPECT_THAT(result.placements, ElementsAre(Placement{"small", "b"}));
  result = plan(nodes, {item("big", 4, 1), item("small", 1, 2)}, {.backfill = false});
  EXPECT_THAT(result.placements, IsEmpty());
  ASSERT_EQ(result.waiting.size(), 2U);
  EXPECT_EQ(result.waiting[1].reason,
            "needs 1 slot on one node; the free ones are kept for big, which is before it in the queue");
}

TEST(Plan, WorkThatCanNeverFitHoldsNothingBack) {
  auto result = plan({node("a", 2)}, {item("huge", 3, 1, 9), item("x", 2)});
  EXPECT_THAT(result.placements, ElementsAre(Placement{"x", "a"}));
}

TEST(Plan, NodesThatAreOvercommittedOrNotPlaceableGetNothing) {
  auto result = plan({node("a", 2, 5), node("b", 2, 0, false)}, {item("x", 1)});
  EXPECT_THAT(result.placements, IsEmpty());
}

TEST(Plan, ZeroSlotsCountAsOne) {
  auto result = plan({node("a", 1)}, {item("x", 0, 1), item("y", 0, 2)});
  EXPECT_THAT(result.placements, ElementsAre(Placement{"x", "a"}));
}

// A seeded world of nodes, queue and running work.
class PlanProperty : public testing::TestWithParam<uint64_t> {
 protected:
  PlanProperty() : random_(GetParam()) { RecordProperty("seed", std::to_string(GetParam())); }

  uint64_t below(uint64_t bound) { return random_.next() % bound; }

  Snapshot snapshot() {
    Snapshot world;
    for (uint64_t i = 0, n = below(6); i < n; ++i) {
      auto slots = static_cast<uint32_t>(below(9));
      world.nodes.push_back(
          node("node-" + std::to_string(i), slots, static_cast<uint32_t>(below(slots + 2)), below(4) != 0));
    }
    for (uint64_t i = 0, n = below(12); i < n; ++i) {
      world.waiting.push_back(item("work-" + std::to_string(i), static_cast<uint32_t>(below(11)),
                                   static_cast<int64_t>(below(5)), static_cast<int32_t>(below(3)) - 1));
    }
    return world;
  }

  template <class T>
  void shuffle(std::vector<T>* items) {
    for (size_t i = items->size(); i > 1; --i) std::swap((*items)[i - 1], (*items)[below(i)]);
  }

  SeededRandom random_;
};

TEST_P(PlanProperty, NeverOvercommitsAndAnswersForEveryItemOnce) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  for (int round = 0; round < 200; ++round) {
    Snapshot world = snapshot();
    Plan result = make_plan(world, {.backfill = below(4) != 0}, Time{});
    std::map<std::string, NodeState> nodes;
    for (const auto& n : world.nodes) nodes[n.name] = n;
    std::map<std::string, WorkItem> items;
    for (const auto& i : world.waiting) items[i.key] = i;
    std::set<std::string> answered;
    for (const auto& placed : result.placements) {
      ASSERT_TRUE(answered.insert(placed.key).second) << placed.key;
      ASSERT_TRUE(nodes.contains(placed.node));
      auto& n = nodes[placed.node];
      ASSERT_TRUE(n.placeable);
      n.slots_used += std::max(items[placed.key].slots, 1U);
      ASSERT_LE(n.slots_used, n.slots) << to_text(result);
    }
    for (const auto& waits : result.waiting) {
      ASSERT_TRUE(answered.insert(waits.key).second) << waits.key;
      ASSERT_THAT(waits.reason_code, testing::AnyOf("no_node", "too_big", "no_slots", "behind"));
      ASSERT_FALSE(waits.reason.empty());
      ASSERT_TRUE(items.contains(waits.key));
    }
    ASSERT_EQ(answered.size(), items.size());
  }
}

TEST_P(PlanProperty, TheSameWorldInAnyOrderGivesTheSameBytes) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  for (int round = 0; round < 200; ++round) {
    Snapshot world = snapshot();
    std::string first = to_text(make_plan(world, {}, Time{}));
    ASSERT_EQ(first, to_text(make_plan(world, {}, Time{})));
    shuffle(&world.nodes);
    shuffle(&world.waiting);
    ASSERT_EQ(first, to_text(make_plan(world, {}, Time{})));
  }
}

TEST_P(PlanProperty, SlotsThatFitTheFirstInTheQueueAreNeverLeftIdle) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  for (int round = 0; round < 200; ++round) {
    Snapshot world = snapshot();
    Plan result = make_plan(world, {}, Time{});
    std::map<std::string, WorkItem> items;
    for (const auto& i : world.waiting) items[i.key] = i;
    std::map<std::string, uint32_t> used;
    for (const auto& p : result.placements) used[p.node] += std::max(items[p.key].slots, 1U);
    for (const auto& waits : result.waiting) {
      if (waits.reason_code != "no_slots") continue;
      // Whoever waits for slots fits on no node as the plan leaves it.
      uint32_t need = std::max(items[waits.key].slots, 1U);
      for (const auto& n : world.nodes) {
        if (!n.placeable) continue;
        ASSERT_LT(n.slots, n.slots_used + used[n.name] + need) << to_text(result);
      }
    }
  }
}

// What control may leave out of a long queue: the plan of the rest is the plan of all.
TEST_P(PlanProperty, WorkBehindTheDepthOfItsLaneChangesNothing) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  size_t left_out = 0;
  for (int round = 0; round < 500; ++round) {
    Snapshot world = snapshot();
    for (uint64_t i = 0, n = below(60); i < n; ++i) {
      world.waiting.push_back(item("more-" + std::to_string(i), static_cast<uint32_t>(below(11)),
                                   static_cast<int64_t>(below(5)), static_cast<int32_t>(below(3)) - 1));
    }
    Policy policy{.backfill = below(4) != 0};
    Plan whole = make_plan(world, policy, Time{});
    std::vector<WorkItem> queue = world.waiting;
    std::sort(queue.begin(), queue.end(), [](const auto& a, const auto& b) {
      return std::tie(b.priority, a.ready_since, a.key) < std::tie(a.priority, b.ready_since, b.key);
    });
    Snapshot head{world.nodes, {}};
    std::map<uint32_t, size_t> taken;
    std::set<std::string> behind;
    for (const auto& work : queue) {
      if (taken[work.slots]++ < lane_depth(world.nodes, work.slots)) {
        head.waiting.push_back(work);
      } else {
        behind.insert(work.key);
      }
    }
    left_out += behind.size();
    std::erase_if(whole.waiting, [&](const auto& waiting) { return behind.contains(waiting.key); });
    ASSERT_EQ(to_text(make_plan(head, policy, Time{})), to_text(whole));
  }
  EXPECT_GT(left_out, 1000u);
}

// Small work keeps coming while a gang of the same priority waits: every item must still get its turn, and nothing that
// is as urgent and fits the same nodes may start before one that was ready earlier.
TEST_P(PlanProperty, NothingOfEqualPriorityStarves) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  struct Running {
    std::string node;
    uint32_t slots;
    int64_t ends;
  };
  std::vector<NodeState> nodes = {node("a", 4), node("b", 4), node("c", 8)};
  std::vector<WorkItem> waiting;
  std::vector<Running> running;
  std::map<std::string, int64_t> arrived;
  int64_t longest = 0;
  for (int64_t now = 1; now <= 600; ++now) {
    std::erase_if(running, [now](const Running& r) { return r.ends <= now; });
    if (now <= 500) {
      for (uint64_t i = 0, n = 1 + below(2); i < n; ++i) {
        auto slots = static_cast<uint32_t>(below(20) == 0 ? 8 : 1 + below(3));
        auto work = item("work-" + std::to_string(now) + "-" + std::to_string(i), slots, now);
        arrived[work.key] = now;
        waiting.push_back(work);
      }
    }
    Snapshot world{nodes, waiting};
    for (const auto& r : running) {
      for (auto& n : world.nodes) n.slots_used += n.name == r.node ? r.slots : 0;
    }
    for (const auto& placed : make_plan(world, {}, Time{} + Duration::seconds(now)).placements) {
      auto found = std::find_if(waiting.begin(), waiting.end(), [&](const auto& w) { return w.key == placed.key; });
      ASSERT_NE(found, waiting.end());
      longest = std::max(longest, now - arrived[placed.key]);
      running.push_back({placed.node, found->slots, now + 1 + static_cast<int64_t>(below(6))});
      waiting.erase(found);
    }
  }
  EXPECT_THAT(waiting, IsEmpty());
  EXPECT_LT(longest, 200);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PlanProperty, testing::Values(1, 2, 3, 20261101));

}  // namespace
}  // namespace freshet::scheduler
