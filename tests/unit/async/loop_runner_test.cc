#include "daemon/async/loop_runner.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <stdexcept>

namespace freshet::async {
namespace {

class Counting final : public control::Reconciler {
 public:
  explicit Counting(std::function<Time(Time, int)> act) : act_(std::move(act)) {}
  std::string_view name() const override { return "counting"; }
  Time reconcile(Time now) override {
    Time due = act_(now, rounds + 1);
    ++rounds;
    rounds.notify_all();
    return due;
  }
  void wait_for(int count) {
    for (int seen = rounds; seen < count; seen = rounds) rounds.wait(seen);
  }
  std::atomic<int> rounds = 0;

 private:
  std::function<Time(Time, int)> act_;
};

const SystemClock kClock;

TEST(LoopRunner, RunsAtOnceAndWhenWoken) {
  Counting loop([](Time, int) { return Time::never(); });
  LoopRunner runner({&loop}, kClock);
  runner.start();
  loop.wait_for(1);
  runner.wake();
  loop.wait_for(2);
  runner.stop();
  EXPECT_EQ(loop.rounds, 2);
  EXPECT_EQ(runner.stats()[0].name, "counting");
  EXPECT_EQ(runner.stats()[0].rounds, 2u);
}

TEST(LoopRunner, ComesBackWhenTheTimeHasCome) {
  std::vector<Time> seen;
  Counting loop([&](Time now, int) {
    seen.push_back(now);
    return now + Duration::millis(20);
  });
  LoopRunner runner({&loop}, kClock);
  runner.start();
  loop.wait_for(4);
  runner.stop();
  for (size_t i = 1; i < seen.size(); ++i) EXPECT_GE((seen[i] - seen[i - 1]).us, 20'000);
}

class SetClock final : public Clock {
 public:
  Time now() const override { return Time{us}; }
  Time monotonic() const override { return kClock.monotonic(); }
  std::atomic<int64_t> us = 1'767'225'600'000'000;
};

TEST(LoopRunner, AClockThatWasSetBackMakesARound) {
  SetClock clock;
  Counting loop([](Time now, int) { return now + Duration::seconds(60); });
  LoopRunner runner({&loop}, clock);
  runner.start();
  loop.wait_for(1);
  clock.us -= Duration::seconds(24 * 3600).us;
  loop.wait_for(2);
  runner.stop();
}

TEST(LoopRunner, ManyWakeUpsMakeFewRounds) {
  std::atomic<bool> is_inside = false;
  std::atomic<bool> go_on = false;
  Counting loop([&](Time, int round) {
    if (round == 1) {
      is_inside = true;
      is_inside.notify_all();
      go_on.wait(false);
    }
    return Time::never();
  });
  LoopRunner runner({&loop}, kClock);
  runner.start();
  is_inside.wait(false);
  for (int i = 0; i < 1000; ++i) runner.wake();
  go_on = true;
  go_on.notify_all();
  loop.wait_for(2);
  runner.stop();
  EXPECT_EQ(loop.rounds, 2);
}

TEST(LoopRunner, AWakeUpFromInsideMakesAnotherRound) {
  LoopRunner* self = nullptr;
  Counting loop([&](Time, int round) {
    if (round == 1) self->wake();
    return Time::never();
  });
  LoopRunner runner({&loop}, kClock);
  self = &runner;
  runner.start();
  loop.wait_for(2);
  runner.stop();
}

TEST(LoopRunner, OneThatThrowsDoesNotStopTheOthers) {
  std::string reported;
  Counting bad([](Time, int) -> Time { throw std::runtime_error("broken on purpose"); });
  Counting good([](Time, int) { return Time::never(); });
  LoopRunner runner({&bad, &good}, kClock, [&](const std::string& what) { reported = what; });
  runner.start();
  good.wait_for(1);
  runner.stop();
  EXPECT_EQ(reported, "counting: broken on purpose");
  EXPECT_EQ(runner.stats()[0].failures, 1u);
  EXPECT_EQ(runner.stats()[1].failures, 0u);
}

}  // namespace
}  // namespace freshet::async
