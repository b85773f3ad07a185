#include "scheduler/trigger.h"

#include <gtest/gtest.h>

#include "tests/unit/scheduler/text_proto.h"

namespace freshet::scheduler {
namespace {

using Kind = TriggerDecision::Kind;

constexpr Time kNoon{1'795'003'200'000'000};  // 2026-11-18T12:00:00Z

Time noon(int64_t seconds_later = 0) { return kNoon + Duration::seconds(seconds_later); }

std::string stored(const v1::TriggerState& state) { return state.ShortDebugString(); }

v1::TriggerSpec spec(const std::string& text) { return parse<v1::TriggerSpec>("pipeline: 'flights' " + text); }

// "fire: reason", "wait: reason", "wait until ...: reason".
std::string said(const TriggerDecision& decision) {
  std::string text = decision.kind == Kind::kFire ? "fire" : decision.kind == Kind::kWait ? "wait" : "nothing";
  if (decision.wake_at != Time::never()) text += " until " + to_iso8601(decision.wake_at);
  EXPECT_EQ(decision.state.last_decision(), decision.reason);
  return text + ": " + decision.reason;
}

// The returned state is the given one but for last_decision.
void expect_nothing_consumed(const TriggerDecision& decision, v1::TriggerState state) {
  state.set_last_decision(decision.reason);
  EXPECT_EQ(stored(decision.state), stored(state));
}

TriggerObservation arrived(uint64_t entries, uint64_t rows, Time newest = noon(-60)) {
  TriggerObservation seen;
  seen.new_entries = entries;
  seen.new_rows = rows;
  seen.newest_order = 40 + entries;
  seen.newest_arrival = newest;
  return seen;
}

v1::TriggerState consumed() {
  return parse<v1::TriggerState>("name: 't' entries_consumed: 40 fired: 2 last_run_id: 'r'");
}

TEST(NewData, FiresWhenEnoughRowsCameAndItIsQuiet) {
  auto trigger = spec("new_data { input: 'flights' min_rows: 100 debounce_ms: 200 }");
  auto decision = evaluate_trigger(trigger, arrived(7, 120), consumed(), noon());
  EXPECT_EQ(said(decision), "fire: 7 new entries with 120 rows");
  EXPECT_EQ(stored(decision.state),
            stored(parse<v1::TriggerState>("name: 't' entries_consumed: 47 fired: 3 last_run_id: 'r' last_fired_us: "
                                           "1795003200000000 last_decision: '7 new entries with 120 rows'")));
}

TEST(NewData, WaitsForTheDebounce) {
  auto trigger = spec("new_data { min_rows: 100 debounce_ms: 200 }");
  auto seen = arrived(1, 100, noon() - Duration::millis(150));
  auto decision = evaluate_trigger(trigger, seen, consumed(), noon());
  EXPECT_EQ(said(decision),
            "wait until 2026-11-18T12:00:00.050Z: 1 new entry with 100 rows; nothing must arrive for 200 ms");
  expect_nothing_consumed(decision, consumed());
  EXPECT_EQ(evaluate_trigger(trigger, seen, consumed(), decision.wake_at).kind, Kind::kFire);
  EXPECT_EQ(evaluate_trigger(trigger, seen, consumed(), decision.wake_at - Duration::micros(1)).kind, Kind::kWait);
}

TEST(NewData, AClockThatWasSetBackDoesNotHoldItUp) {
  auto trigger = spec("new_data { debounce_ms: 200 }");
  EXPECT_EQ(evaluate_trigger(trigger, arrived(1, 1, noon() + Duration::millis(150)), consumed(), noon()).kind,
            Kind::kWait);
  EXPECT_EQ(evaluate_trigger(trigger, arrived(1, 1, noon(3600)), consumed(), noon()).kind, Kind::kFire);
}

TEST(NewData, SaysWhatItWaitsFor) {
  auto rows = spec("new_data { min_rows: 100 }");
  auto both = spec("new_data { min_rows: 100 min_entries: 3 }");
  auto either = spec("new_data {}");
  EXPECT_EQ(said(evaluate_trigger(rows, arrived(7, 99), {}, noon())),
            "wait: 7 new entries with 99 rows; at least 100 rows are needed");
  EXPECT_EQ(said(evaluate_trigger(both, arrived(2, 500), {}, noon())),
            "wait: 2 new entries with 500 rows; at least 3 entries are needed");
  EXPECT_EQ(said(evaluate_trigger(both, arrived(3, 500), {}, noon())), "fire: 3 new entries with 500 rows");
  EXPECT_EQ(said(evaluate_trigger(either, arrived(1, 1), {}, noon())), "fire: 1 new entry with 1 row");
  EXPECT_EQ(said(evaluate_trigger(either, arrived(0, 0), {}, noon())),
            "nothing: no entry has been accepted since the last firing");
  auto seen = arrived(2, 500);
  seen.inspecting = true;
  EXPECT_EQ(said(evaluate_trigger(either, seen, {}, noon())),
            "wait: 2 new entries with 500 rows; more entries are being inspected");
  seen.inspecting = false;
  seen.run_active = true;
  auto decision = evaluate_trigger(either, seen, consumed(), noon());
  EXPECT_EQ(said(decision), "wait: 2 new entries with 500 rows; a run of the pipeline is active");
  expect_nothing_consumed(decision, consumed());
  seen = arrived(0, 0);
  seen.inspecting = true;
  EXPECT_EQ(said(evaluate_trigger(either, seen, {}, noon())), "nothing: entries that arrived are being inspected");
}

TEST(NewData, WhatWasConsumedNeverGoesBack) {
  auto seen = arrived(1, 1);
  seen.newest_order = 12;
  EXPECT_EQ(evaluate_trigger(spec("new_data {}"), seen, consumed(), noon()).state.entries_consumed(), 40U);
}

TEST(Trigger, PausedOrWithoutAConditionDoesNothing) {
  auto decision = evaluate_trigger(spec("new_data {} paused: true"), arrived(9, 9), consumed(), noon());
  EXPECT_EQ(said(decision), "nothing: paused");
  expect_nothing_consumed(decision, consumed());
  EXPECT_EQ(said(evaluate_trigger(spec(""), {}, {}, noon())), "nothing: the trigger has no condition");
}

TriggerObservation head(const std::string& commit, std::vector<std::string> changed) {
  TriggerObservation seen;
  seen.head_commit = commit;
  seen.changed_paths = std::move(changed);
  return seen;
}

v1::TriggerState at_commit(const std::string& commit) {
  return parse<v1::TriggerState>("name: 't' last_commit: '" + commit + "'");
}

TEST(NewCommit, TheFirstHeadIsOnlyRecorded) {
  auto trigger = spec("new_commit { source: 'code' }");
  EXPECT_EQ(said(evaluate_trigger(trigger, head("", {}), {}, noon())),
            "nothing: the head of source code is not known yet");
  auto seen = head("aaaaaaaaaaaabbbb", {"recipe.yaml"});
  seen.first_commit = true;
  auto decision = evaluate_trigger(trigger, seen, {}, noon());
  EXPECT_EQ(said(decision), "nothing: commit aaaaaaaaaaaa is where watching starts");
  EXPECT_EQ(decision.state.last_commit(), "aaaaaaaaaaaabbbb");
  EXPECT_EQ(decision.state.fired(), 0U);
}

TEST(NewCommit, FiresForALaterHeadThatChangesAWatchedPath) {
  auto trigger = spec("new_commit { source: 'code' paths: 'docs' paths: 'model/' }");
  auto decision = evaluate_trigger(trigger, head("b", {"README.md", "model/recipe.yaml"}), at_commit("a"), noon());
  EXPECT_EQ(said(decision), "fire: commit b changes model/recipe.yaml and 1 other file");
  EXPECT_EQ(stored(decision.state),
            stored(parse<v1::TriggerState>("name: 't' last_commit: 'b' fired: 1 last_fired_us: 1795003200000000 "
                                           "last_decision: 'commit b changes model/recipe.yaml and 1 other file'")));
  EXPECT_EQ(said(evaluate_trigger(trigger, head("b", {"model/x"}), decision.state, noon())),
            "nothing: commit b has been seen; no newer one");
}

TEST(NewCommit, AHeadThatTouchesNoneIsRecorded) {
  auto trigger = spec("new_commit { source: 'code' paths: 'model' }");
  auto decision = evaluate_trigger(trigger, head("b", {"models/x", "a/model/y"}), at_commit("a"), noon());
  EXPECT_EQ(said(decision), "nothing: commit b changes 2 files, none under model");
  EXPECT_EQ(decision.state.last_commit(), "b");
  decision = evaluate_trigger(spec("new_commit {}"), head("b", {}), at_commit("a"), noon());
  EXPECT_EQ(said(decision), "nothing: commit b changes 0 files");
  EXPECT_EQ(decision.state.last_commit(), "b");
}

TEST(NewCommit, WaitsWhileARunIsActiveAndKeepsTheOldHead) {
  auto seen = head("b", {"model/x"});
  seen.run_active = true;
  auto decision = evaluate_trigger(spec("new_commit {}"), seen, at_commit("a"), noon());
  EXPECT_EQ(said(decision), "wait: commit b changes model/x; a run of the pipeline is active");
  expect_nothing_consumed(decision, at_commit("a"));
}

TEST(NewCommit, PathsArePrefixesOfWholeComponents) {
  struct Row {
    const char* prefix;
    const char* path;
    bool fires;
  };
  for (const auto& row : {Row{"model", "model/x", true}, Row{"model", "model", true}, Row{"model", "models", false},
                          Row{"model/", "model/x", true}, Row{"./model", "model/x", true},
                          Row{"/model", "model/x", true}, Row{"", "x", true}, Row{".", "x", true}, Row{"./", "x", true},
                          Row{"a/b", "a/b/c", true}, Row{"a/b", "a/bc", false}, Row{"a/b.yaml", "a/b.yaml", true}}) {
    auto trigger = spec(std::string("new_commit { paths: '") + row.prefix + "' }");
    auto decision = evaluate_trigger(trigger, head("b", {row.path}), at_commit("a"), noon());
    EXPECT_EQ(decision.kind == Kind::kFire, row.fires) << row.prefix << " against " << row.path;
  }
}

v1::TriggerSpec cron(const std::string& schedule, const std::string& more = "", const std::string& top = "") {
  return spec("cron { schedule: '" + schedule + "' " + more + "}" + top);
}

v1::TriggerState last_due(Time time) {
  v1::TriggerState state;
  state.set_last_due_us(time.us);
  return state;
}

TEST(Cron, TheFirstEvaluationOnlyRecordsTheTime) {
  auto decision = evaluate_trigger(cron("0 * * * *"), {}, {}, noon(5));
  EXPECT_EQ(said(decision), "nothing until 2026-11-18T13:00:00.000Z: next due 2026-11-18T13:00:00.000Z");
  EXPECT_EQ(decision.state.last_due_us(), noon(5).us);
}

TEST(Cron, FiresOnceAtEachDueTime) {
  auto trigger = cron("0 * * * *");
  auto state = last_due(noon(-3600));
  EXPECT_EQ(evaluate_trigger(trigger, {}, state, noon(-1)).kind, Kind::kNothing);
  auto decision = evaluate_trigger(trigger, {}, state, noon());
  EXPECT_EQ(said(decision), "fire until 2026-11-18T13:00:00.000Z: due at 2026-11-18T12:00:00.000Z");
  EXPECT_EQ(decision.state.last_due_us(), noon().us);
  EXPECT_EQ(decision.state.last_fired_us(), noon().us);
  EXPECT_EQ(decision.state.fired(), 1U);
  EXPECT_EQ(said(evaluate_trigger(trigger, {}, decision.state, noon(1))),
            "nothing until 2026-11-18T13:00:00.000Z: next due 2026-11-18T13:00:00.000Z");
  // A little late, or a single due time whatever its age, still fires.
  EXPECT_EQ(evaluate_trigger(trigger, {}, state, noon(1800)).kind, Kind::kFire);
}

TEST(Cron, SeveralMissedDueTimesFollowTheCatchUpPolicy) {
  auto state = last_due(noon(-3 * 3600));  // 10, 11 and 12 o'clock were missed
  auto skip = evaluate_trigger(cron("0 * * * *"), {}, state, noon(600));
  EXPECT_EQ(said(skip),
            "nothing until 2026-11-18T13:00:00.000Z: 3 due times were missed and skipped; next due "
            "2026-11-18T13:00:00.000Z");
  EXPECT_EQ(skip.state.last_due_us(), noon().us);
  EXPECT_EQ(skip.state.fired(), 0U);
  auto once = evaluate_trigger(cron("0 * * * *", "catch_up: ONCE"), {}, state, noon(600));
  EXPECT_EQ(said(once), "fire until 2026-11-18T13:00:00.000Z: due at 2026-11-18T12:00:00.000Z, once for 3 due times");
  EXPECT_EQ(once.state.last_due_us(), noon().us);
  // The newest is due just now, so it was not missed.
  EXPECT_EQ(evaluate_trigger(cron("0 * * * *"), {}, state, noon(60)).kind, Kind::kFire);
  EXPECT_EQ(evaluate_trigger(cron("0 * * * *"), {}, state, noon(61)).kind, Kind::kNothing);
}

TEST(Cron, DueTimesDuringARunBecomeOneFiringAfterIt) {
  auto trigger = cron("0 * * * *");
  TriggerObservation busy;
  busy.run_active = true;
  auto state = last_due(noon(-3600));
  for (int hour = 0; hour < 3; ++hour) {
    auto decision = evaluate_trigger(trigger, busy, state, noon(hour * 3600));
    EXPECT_EQ(decision.kind, Kind::kWait);
    EXPECT_EQ(decision.wake_at, noon((hour + 1) * 3600));
    EXPECT_EQ(decision.state.fired(), 0U);
    state = decision.state;
  }
  EXPECT_EQ(state.last_decision(), "due at 2026-11-18T14:00:00.000Z; a run of the pipeline is active");
  auto decision = evaluate_trigger(trigger, {}, state, noon(2 * 3600 + 1800));
  EXPECT_EQ(said(decision), "fire until 2026-11-18T15:00:00.000Z: due at 2026-11-18T14:00:00.000Z");
  EXPECT_EQ(evaluate_trigger(trigger, {}, decision.state, noon(2 * 3600 + 1801)).kind, Kind::kNothing);
}

TEST(Cron, DueTimesDuringAPauseAreGone) {
  auto decision = evaluate_trigger(cron("0 * * * *", "", " paused: true"), {}, last_due(noon(-3600)), noon());
  EXPECT_EQ(said(decision), "nothing until 2026-11-18T13:00:00.000Z: paused; next due 2026-11-18T13:00:00.000Z");
  EXPECT_EQ(evaluate_trigger(cron("0 * * * *"), {}, decision.state, noon(1)).kind, Kind::kNothing);
}

TEST(Cron, YearsOfMissedMinutesAreOneDecision) {
  auto state = last_due(noon(-5LL * 365 * 86400));
  auto decision = evaluate_trigger(cron("* * * * *", "catch_up: ONCE"), {}, state, noon(30));
  EXPECT_EQ(said(decision),
            "fire until 2026-11-18T12:01:00.000Z: due at 2026-11-18T12:00:00.000Z, once for more than 1000 due times");
  decision = evaluate_trigger(cron("* 3 * * *", "catch_up: ONCE"), {}, state, noon(30));
  EXPECT_EQ(decision.state.last_due_us(), noon(-8 * 3600 - 60).us);
}

TEST(Cron, AClockThatWasSetBackStartsAgain) {
  auto decision = evaluate_trigger(cron("0 * * * *"), {}, last_due(noon(400LL * 86400)), noon(5));
  EXPECT_EQ(
      said(decision),
      "nothing until 2026-11-18T13:00:00.000Z: the clock was set back: due times up to 2027-12-23T12:00:00.000Z are "
      "settled, and those from now on count again; next due 2026-11-18T13:00:00.000Z");
  EXPECT_EQ(decision.state.last_due_us(), noon(5).us);
  // A small step back must not repeat what has fired.
  decision = evaluate_trigger(cron("0 * * * *"), {}, last_due(noon()), noon(-1));
  EXPECT_EQ(decision.kind, Kind::kNothing);
  EXPECT_EQ(decision.state.last_due_us(), noon().us);
}

TEST(Cron, ABadScheduleIsTheReason) {
  EXPECT_EQ(said(evaluate_trigger(cron("61 * * * *"), {}, {}, noon())), "nothing: cron minute: 61 is outside 0 to 59");
}

}  // namespace
}  // namespace freshet::scheduler
