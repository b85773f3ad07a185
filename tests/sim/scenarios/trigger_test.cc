// Schedules while the wall clock jumps.
#include "tests/sim/scenarios/scenario.h"

namespace freshet::sim {
namespace {

constexpr Duration kDay = Duration::seconds(24 * 3600);

class TriggerScenario : public Scenario {
 protected:
  TriggerScenario() {
    EXPECT_TRUE(
        world_
            .call("POST", "/api/v1/apply",
                  R"({"triggers": [{"api_version": "freshet/v1", "kind": "Trigger", "metadata": {"name": "daily"},
                              "spec": {"pipeline": "demand", "cron": {"schedule": "10 0 * * *"}}}]})")
            .is_ok());
    arrive(1, 3);
    EXPECT_TRUE(until([this] { return checker_.entries().size() == 3 && checker_.active() == 0; }));
  }

  bool until_scheduled_runs(size_t count) {
    return until([&] { return due_times().size() == count; }, Duration::seconds(20 * 60));
  }
  std::vector<std::string> due_times() {
    std::vector<std::string> due;
    for (const auto& [key, run] : checker_.runs()) {
      if (!due_time(run).empty()) due.push_back(due_time(run));
    }
    std::sort(due.begin(), due.end());
    return due;
  }
  std::string last_decision() { return checker_.triggers().at("trigger_state/default/daily").last_decision(); }
};

// A step back of minutes brings a due time round a second time.
TEST_F(TriggerScenario, ASmallStepBackRepeatsNothing) {
  ASSERT_TRUE(until_scheduled_runs(1)) << checker_.broken();
  world_.jump_wall(Duration::seconds(-600));
  EXPECT_FALSE(until_scheduled_runs(2));
  EXPECT_EQ(checker_.broken(), "");
}

// The clock was days ahead when a due time was reached. When the right day comes it counts again, and the trigger's
// state has said so: else the schedule would rest for as long as the clock was wrong.
TEST_F(TriggerScenario, WhatAWrongClockReachedCountsAgainAndIsSaid) {
  world_.jump_wall(kDay + kDay);
  ASSERT_TRUE(until_scheduled_runs(1)) << checker_.broken();
  const std::string early = due_times().front();
  world_.jump_wall(Duration{} - kDay - kDay - Duration::seconds(300));
  ASSERT_TRUE(until([&] { return last_decision().find("the clock was set back") != std::string::npos; }));
  EXPECT_NE(last_decision().find(early), std::string::npos) << last_decision();
  ASSERT_TRUE(until_scheduled_runs(2)) << checker_.broken();
  EXPECT_LT(due_times().front(), early);
  world_.jump_wall(kDay);
  ASSERT_TRUE(until_scheduled_runs(3)) << checker_.broken();
  world_.jump_wall(kDay);
  ASSERT_TRUE(until_scheduled_runs(4)) << checker_.broken();
  EXPECT_EQ(due_times().back(), early);
}

}  // namespace
}  // namespace freshet::sim
