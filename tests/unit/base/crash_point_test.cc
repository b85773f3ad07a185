#include "base/crash_point.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>

#include "base/file.h"

namespace freshet {
namespace {

class CrashPoint : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/freshet-crash-point-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override {
    set_crash_point_handler(nullptr);
    for (const char* name : {"FRESHET_CRASH_AT", "FRESHET_CRASH_ONCE", "FRESHET_CRASH_LOG"}) ::unsetenv(name);
    std::filesystem::remove_all(dir_);
  }
  void variable(const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); }

  std::filesystem::path dir_;
};

TEST_F(CrashPoint, UnarmedItDoesNothing) {
  ASSERT_TRUE(arm_crash_points_from_environment().is_ok());
  EXPECT_FALSE(crash_points_armed);
  CRASH_POINT("test.unarmed");
}

TEST_F(CrashPoint, AHandlerSeesTheNameAndMayThrow) {
  set_crash_point_handler([](std::string_view name) { throw std::runtime_error(std::string(name)); });
  EXPECT_THROW(CRASH_POINT("test.thrown"), std::runtime_error);
  EXPECT_THROW(CRASH_POINT("test.thrown"), std::runtime_error);  // the lock was let go
  set_crash_point_handler(nullptr);
  CRASH_POINT("test.thrown");
}

TEST_F(CrashPoint, WhatAHandlerDoesMayReachAPoint) {
  std::atomic<int> inner = 0;
  set_crash_point_handler([&inner](std::string_view name) {
    if (name == "test.inner") ++inner;
    if (name != "test.outer") return;
    CRASH_POINT("test.inner");
    std::thread([] { CRASH_POINT("test.inner"); }).join();
  });
  CRASH_POINT("test.outer");
  EXPECT_EQ(inner, 2);
}

TEST_F(CrashPoint, KillsAtTheCountGiven) {
  auto pass_three_times = [this] {
    variable("FRESHET_CRASH_AT", "test.counted:3");
    if (!arm_crash_points_from_environment().is_ok()) std::_Exit(2);
    for (int i = 0; i < 3; ++i) {
      CRASH_POINT("test.other");
      if (i == 2 && !write_file_durably(dir_ / "third", "").is_ok()) std::_Exit(2);
      CRASH_POINT("test.counted");
    }
    std::_Exit(0);
  };
  EXPECT_EXIT(pass_three_times(), testing::KilledBySignal(SIGKILL), "");
  EXPECT_TRUE(std::filesystem::exists(dir_ / "third"));
}

TEST_F(CrashPoint, OnlyTheFirstProcessIsEnded) {
  auto pass = [this] {
    variable("FRESHET_CRASH_AT", "test.once");
    variable("FRESHET_CRASH_ONCE", (dir_ / "once").string());
    if (!arm_crash_points_from_environment().is_ok()) std::_Exit(2);
    CRASH_POINT("test.once");
    CRASH_POINT("test.once");
    std::_Exit(0);
  };
  EXPECT_EXIT(pass(), testing::KilledBySignal(SIGKILL), "");
  EXPECT_EXIT(pass(), testing::ExitedWithCode(0), "");
}

TEST_F(CrashPoint, TheLogSaysWhoReachedWhat) {
  variable("FRESHET_CRASH_LOG", (dir_ / "log").string());
  ASSERT_TRUE(arm_crash_points_from_environment().is_ok());
  CRASH_POINT("test.first");
  CRASH_POINT("test.second");
  CRASH_POINT("test.first");
  const std::string pid = std::to_string(getpid());
  EXPECT_EQ(read_file(dir_ / "log").value(), pid + " test.first\n" + pid + " test.second\n" + pid + " test.first\n");
}

// Between fork and exec a child passes points while other threads of its parent do.
TEST_F(CrashPoint, AChildIsNeverForkedInTheMiddleOfOne) {
  variable("FRESHET_CRASH_LOG", (dir_ / "log").string());
  ASSERT_TRUE(arm_crash_points_from_environment().is_ok());
  std::atomic<bool> done = false;
  std::thread busy([&done] {
    while (!done) {
      CRASH_POINT("test.busy");
      std::this_thread::yield();  // a mutex is not fair
    }
  });
  bool all_ended = true;
  for (int i = 0; i < 100 && all_ended; ++i) {
    pid_t child = fork();
    if (child == 0) {
      alarm(10);
      CRASH_POINT("test.child");
      std::_Exit(0);
    }
    int status = 0;
    all_ended = waitpid(child, &status, 0) == child && status == 0;
  }
  done = true;
  busy.join();
  EXPECT_TRUE(all_ended) << "a child waited for a lock that nobody holds";
}

TEST_F(CrashPoint, ACountThatIsNoneIsRefused) {
  for (const char* value : {"test.x:", "test.x:0", "test.x:two", "test.x:1 "}) {
    variable("FRESHET_CRASH_AT", value);
    EXPECT_EQ(arm_crash_points_from_environment().code(), Code::kInvalidArgument) << value;
  }
}

}  // namespace
}  // namespace freshet
