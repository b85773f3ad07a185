// When a watched loop has a round, and when it is left alone.
#include "daemon/control/watched_loop.h"

#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>

#include "tests/unit/control/manual_plane.h"

namespace freshet::control {
namespace {

class Counting final : public Reconciler {
 public:
  std::string_view name() const override { return "counting"; }
  Time reconcile(Time now) override {
    ++rounds;
    return act(now);
  }
  int rounds = 0;
  std::function<Time(Time)> act;
};

class WatchedLoopTest : public testing::Test {
 protected:
  WatchedLoopTest() {
    counting_.act = [this](Time) {
      look();
      return Time::never();
    };
    plane_.store.on_written([this](const auto& keys) { loops_.on_written(keys); });
  }

  void look() { EXPECT_TRUE(plane_.store.snapshot()->scan("seen/").is_ok()); }
  void write(const std::string& key) {
    Change change;
    change.writes.push_back({key, "written"});
    EXPECT_TRUE(plane_.store.commit(std::move(change)).is_ok());
  }
  // How many rounds a call makes.
  int call() {
    const int before = counting_.rounds;
    loops_.all().front()->reconcile(plane_.clock.now());
    return counting_.rounds - before;
  }

  test::ManualPlane plane_;
  Counting counting_;
  WatchedLoops loops_{{&counting_}};
};

TEST_F(WatchedLoopTest, RunsFirstAndWhenWhatItReadIsWritten) {
  EXPECT_EQ(loops_.all().front()->name(), "counting");
  EXPECT_EQ(call(), 1);
  EXPECT_EQ(call(), 0);
  write("other/1");
  EXPECT_FALSE(loops_[0].is_asked());
  EXPECT_EQ(call(), 0);
  write("seen/1");
  EXPECT_TRUE(loops_[0].is_asked());
  EXPECT_EQ(call(), 1);
  EXPECT_EQ(call(), 0);
}

TEST_F(WatchedLoopTest, RunsWhenItIsAskedTo) {
  EXPECT_EQ(call(), 1);
  loops_.ask_all();
  EXPECT_EQ(call(), 1);
  EXPECT_EQ(call(), 0);
  loops_.ask("another");
  EXPECT_EQ(call(), 0);
  loops_.ask("counting");
  EXPECT_EQ(call(), 1);
}

TEST_F(WatchedLoopTest, RunsWhenItsTimeHasComeOrTheClockWasSetBack) {
  const Time start = plane_.clock.now();
  counting_.act = [](Time now) { return now + Duration::seconds(10); };
  EXPECT_EQ(call(), 1);
  plane_.clock.advance(Duration::seconds(9));
  EXPECT_EQ(loops_.all().front()->reconcile(plane_.clock.now()), start + Duration::seconds(10));
  EXPECT_EQ(counting_.rounds, 1);
  plane_.clock.advance(Duration::seconds(1));
  EXPECT_EQ(call(), 1);
  plane_.clock.advance(Duration::seconds(-60));
  EXPECT_EQ(call(), 1);
}

// The round may have looked before or after the write.
TEST_F(WatchedLoopTest, WhatIsWrittenDuringARoundMakesAnother) {
  counting_.act = [this](Time) {
    look();
    if (counting_.rounds == 1) write("other/1");
    if (counting_.rounds == 2) write("seen/1");
    return Time::never();
  };
  EXPECT_EQ(call(), 1);
  EXPECT_EQ(call(), 0);
  loops_.ask_all();
  EXPECT_EQ(call(), 1);
  EXPECT_EQ(call(), 1);
  EXPECT_EQ(call(), 0);
}

TEST_F(WatchedLoopTest, AWriteInARoundAsksBeforeTheRoundEnds) {
  bool asked = false;
  counting_.act = [&](Time) {
    look();
    write("seen/1");
    asked = loops_[0].is_asked();
    return Time::never();
  };
  EXPECT_EQ(call(), 1);
  EXPECT_TRUE(asked);
}

TEST_F(WatchedLoopTest, ARoundThatThrowsIsMadeAgain) {
  counting_.act = [](Time) -> Time { throw std::runtime_error("broken on purpose"); };
  EXPECT_THROW(call(), std::runtime_error);
  EXPECT_THROW(call(), std::runtime_error);
}

}  // namespace
}  // namespace freshet::control
