#include "scheduler/run_graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/scheduler/text_proto.h"

namespace freshet::scheduler {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// train -> evaluate -> promote, and report beside them.
constexpr const char* kRecipe = R"(
  steps { name: 'promote' needs: 'evaluate' }
  steps { name: 'evaluate' needs: 'train' }
  steps { name: 'train' }
  steps { name: 'export' needs: 'train' needs: 'warmup' }
  steps { name: 'warmup' })";

v1::Run run(const std::string& steps, const std::string& state = "RUNNING") {
  return parse<v1::Run>("state: " + state + " recipe {" + kRecipe + "}" + steps);
}

std::string step(const std::string& name, const std::string& state) {
  return "steps { name: '" + name + "' state: " + state + " }";
}

std::vector<std::string> ready(const v1::Run& run) { return newly_ready(run.recipe(), run); }
std::vector<std::string> skipped(const v1::Run& run) { return newly_skipped(run.recipe(), run); }

TEST(RunGraph, StepsStartWhenAllTheirNeedsHaveSucceeded) {
  EXPECT_THAT(ready(run("")), ElementsAre("train", "warmup"));
  EXPECT_THAT(ready(run(step("train", "READY") + step("warmup", "RUNNING"))), IsEmpty());
  auto trained = step("train", "SUCCEEDED");
  EXPECT_THAT(ready(run(trained + step("warmup", "RUNNING"))), ElementsAre("evaluate"));
  EXPECT_THAT(ready(run(trained + step("warmup", "SUCCEEDED"))), ElementsAre("evaluate", "export"));
  EXPECT_THAT(ready(run(trained + step("warmup", "FAILED") + step("evaluate", "SUCCEEDED"))), ElementsAre("promote"));
  EXPECT_THAT(ready(run("", "CANCELLED")), IsEmpty());
}

TEST(RunGraph, WhatNeedsAFailedStepIsSkipped) {
  EXPECT_THAT(skipped(run("")), IsEmpty());
  EXPECT_THAT(skipped(run(step("train", "FAILED"))), ElementsAre("promote", "evaluate", "export"));
  EXPECT_THAT(skipped(run(step("train", "SUCCEEDED") + step("warmup", "FAILED"))), ElementsAre("export"));
  EXPECT_THAT(skipped(run(step("train", "SUCCEEDED") + step("evaluate", "SKIPPED"))), ElementsAre("promote"));
  EXPECT_THAT(skipped(run(step("train", "FAILED") + step("evaluate", "SKIPPED") + step("promote", "SKIPPED") +
                          step("export", "SKIPPED"))),
              IsEmpty());
}

TEST(RunGraph, ANeedThatIsNotInTheRecipeNeverSucceeds) {
  auto broken = parse<v1::Run>("state: QUEUED recipe { steps { name: 'a' needs: 'ghost' } }");
  EXPECT_THAT(ready(broken), IsEmpty());
  EXPECT_THAT(skipped(broken), ElementsAre("a"));
}

TEST(RunGraph, TheRunStandsAsItsStepsImply) {
  EXPECT_EQ(settled_state(run("", "QUEUED")), v1::Run::QUEUED);
  EXPECT_EQ(settled_state(run(step("train", "READY"), "QUEUED")), v1::Run::QUEUED);
  EXPECT_EQ(settled_state(run(step("train", "RUNNING"), "QUEUED")), v1::Run::RUNNING);
  EXPECT_EQ(settled_state(run(step("train", "READY"), "RUNNING")), v1::Run::RUNNING);  // a retry is no way back
  auto all = step("train", "SUCCEEDED") + step("warmup", "SUCCEEDED") + step("evaluate", "SUCCEEDED") +
             step("export", "SUCCEEDED");
  EXPECT_EQ(settled_state(run(all)), v1::Run::RUNNING);
  EXPECT_EQ(settled_state(run(all + step("promote", "SUCCEEDED"))), v1::Run::SUCCEEDED);
  EXPECT_EQ(settled_state(run(all + step("promote", "FAILED"))), v1::Run::FAILED);
  // Independent work ends first; steps that can never start need not be marked.
  EXPECT_EQ(settled_state(run(step("train", "FAILED") + step("warmup", "RUNNING"))), v1::Run::RUNNING);
  EXPECT_EQ(settled_state(run(step("train", "FAILED") + step("warmup", "SUCCEEDED"))), v1::Run::FAILED);
  EXPECT_EQ(settled_state(run(step("train", "SKIPPED") + step("warmup", "SKIPPED"))), v1::Run::CANCELLED);
}

TEST(RunGraph, ARunThatHasEndedStaysSo) {
  for (const char* state : {"SUCCEEDED", "FAILED", "CANCELLED"}) {
    auto ended = run(step("train", "RUNNING"), state);
    EXPECT_EQ(settled_state(ended), ended.state());
  }
}

// Every pair of states against the moves that are written here as "from>to".
template <class State>
std::string moves(State last, const std::string& (*name)(State)) {
  std::string text;
  for (int from = 0; from <= last; ++from) {
    for (int to = 0; to <= last; ++to) {
      if (may_move(static_cast<State>(from), static_cast<State>(to))) {
        text += name(static_cast<State>(from)) + ">" + name(static_cast<State>(to)) + " ";
      }
    }
  }
  return text;
}

TEST(RunGraph, OnlyTheseMovesAreAllowed) {
  EXPECT_EQ(moves<v1::Run::State>(v1::Run::State_MAX, v1::Run_State_Name<v1::Run::State>),
            "STATE_UNSPECIFIED>QUEUED QUEUED>RUNNING QUEUED>SUCCEEDED QUEUED>FAILED QUEUED>CANCELLED RUNNING>SUCCEEDED "
            "RUNNING>FAILED RUNNING>CANCELLED ");
  EXPECT_EQ(moves<v1::StepStatus::State>(v1::StepStatus::State_MAX, v1::StepStatus_State_Name<v1::StepStatus::State>),
            "STATE_UNSPECIFIED>WAITING STATE_UNSPECIFIED>READY WAITING>READY WAITING>SKIPPED READY>RUNNING "
            "READY>SUCCEEDED READY>FAILED READY>SKIPPED RUNNING>READY RUNNING>SUCCEEDED RUNNING>FAILED "
            "RUNNING>SKIPPED ");
  EXPECT_EQ(moves<v1::Attempt::State>(v1::Attempt::State_MAX, v1::Attempt_State_Name<v1::Attempt::State>),
            "STATE_UNSPECIFIED>PLACED PLACED>PREPARED PLACED>RUNNING PLACED>FAILED PLACED>LOST PLACED>STOPPED "
            "PREPARED>RUNNING PREPARED>FAILED PREPARED>LOST PREPARED>STOPPED RUNNING>SUCCEEDED RUNNING>FAILED "
            "RUNNING>LOST RUNNING>STOPPED ");
}

TEST(RunGraph, FinalStatesHaveNoWayOut) {
  for (int from = 0; from <= v1::Attempt::State_MAX; ++from) {
    bool out = false;
    for (int to = 0; to <= v1::Attempt::State_MAX; ++to) {
      out = out || may_move(static_cast<v1::Attempt::State>(from), static_cast<v1::Attempt::State>(to));
    }
    EXPECT_EQ(is_final(static_cast<v1::Attempt::State>(from)), !out) << from;
  }
}

}  // namespace
}  // namespace freshet::scheduler
