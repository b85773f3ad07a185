#include "daemon/async/task_group.h"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "daemon/async/io_threads.h"

namespace freshet::async {
namespace {

namespace asio = boost::asio;

asio::awaitable<void> count(std::atomic<int>* counter) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  timer.expires_after(std::chrono::milliseconds(1));
  co_await timer.async_wait(asio::use_awaitable);
  ++*counter;
}

asio::awaitable<void> wait_for_ever(std::atomic<int>* started, std::atomic<int>* unwound) {
  struct Unwind {
    std::atomic<int>* counter;
    ~Unwind() { ++*counter; }
  };
  Unwind unwind{unwound};
  asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::steady_clock::time_point::max());
  ++*started;
  started->notify_all();
  co_await timer.async_wait(asio::use_awaitable);
  ADD_FAILURE() << "went on after stop()";
}

asio::awaitable<void> fail() {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  timer.expires_after(std::chrono::milliseconds(1));
  co_await timer.async_wait(asio::use_awaitable);
  throw std::runtime_error("broken on purpose");
}

class TaskGroupTest : public ::testing::Test {
 protected:
  TaskGroupTest() : io_(2) { io_.start(); }
  IoThreads io_;
};

TEST_F(TaskGroupTest, TasksRunOnAllLoops) {
  std::atomic<int> counter = 0;
  TaskGroup group("test");
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(group.start(io_.next_loop().get_executor(), count(&counter)));
  ASSERT_TRUE(group.wait(Duration::seconds(10)));
  EXPECT_EQ(counter, 100);
  EXPECT_EQ(group.running(), 0u);
}

TEST_F(TaskGroupTest, StopUnwindsWhatWaitsAndTakesNoMore) {
  std::atomic<int> started = 0;
  std::atomic<int> unwound = 0;
  TaskGroup group("test");
  for (int i = 0; i < 10; ++i)
    ASSERT_TRUE(group.start(io_.next_loop().get_executor(), wait_for_ever(&started, &unwound)));
  for (int seen = started; seen < 10; seen = started) started.wait(seen);
  EXPECT_FALSE(group.wait(Duration::millis(1)));
  EXPECT_EQ(group.running(), 10u);
  group.stop();
  ASSERT_TRUE(group.wait(Duration::seconds(10)));
  EXPECT_EQ(unwound, 10);
  EXPECT_EQ(group.failures(), 0u) << "to be stopped is no failure";
  EXPECT_FALSE(group.start(io_.next_loop().get_executor(), count(&started)));
}

TEST_F(TaskGroupTest, StopRightBehindStart) {
  for (int i = 0; i < 200; ++i) {
    std::atomic<int> started = 0;
    std::atomic<int> unwound = 0;
    TaskGroup group("test");
    group.start(io_.next_loop().get_executor(), wait_for_ever(&started, &unwound));
    group.stop();
    ASSERT_TRUE(group.wait(Duration::seconds(10)));
    EXPECT_EQ(started <= 1, true);
  }
}

TEST_F(TaskGroupTest, AnUnexpectedExceptionIsReportedAndEndsNoOther) {
  std::string reported;
  std::atomic<int> counter = 0;
  TaskGroup group("test", [&](const std::string& what) { reported = what; });
  group.start(io_.loop(0).get_executor(), fail());
  group.start(io_.loop(0).get_executor(), count(&counter));
  ASSERT_TRUE(group.wait(Duration::seconds(10)));
  EXPECT_EQ(reported, "broken on purpose");
  EXPECT_EQ(group.failures(), 1u);
  EXPECT_EQ(counter, 1);
}

TEST_F(TaskGroupTest, AGroupMayNotBeDroppedWithTasksInIt) {
  EXPECT_DEATH(
      {
        asio::io_context io;
        std::atomic<int> counter = 0;
        TaskGroup group("forgotten");
        group.start(io.get_executor(), count(&counter));
      },
      "forgotten: the group of running tasks was destroyed");
}

}  // namespace
}  // namespace freshet::async
