#include "daemon/async/run_on.h"

#include <gtest/gtest.h>

#include <future>
#include <stdexcept>

#include "daemon/async/io_threads.h"
#include "daemon/async/task_group.h"

namespace freshet::async {
namespace {

using std::chrono::steady_clock;

boost::asio::awaitable<void> run_and_keep(WorkerPool* pool, std::function<Result<std::string>()> work,
                                          steady_clock::time_point limit, std::promise<Result<std::string>>* out) {
  Result<std::string> result = co_await run_on<std::string>(*pool, std::move(work), limit);
  out->set_value(std::move(result));
}

class RunOnTest : public ::testing::Test {
 protected:
  RunOnTest() : io_(1), pool_("pool", 1, 1) { io_.start(); }
  ~RunOnTest() override {
    tasks_.stop();
    EXPECT_TRUE(tasks_.wait(Duration::seconds(10)));
  }

  Result<std::string> run(std::function<Result<std::string>()> work, std::chrono::milliseconds limit) {
    std::promise<Result<std::string>> out;
    tasks_.start(io_.loop(0).get_executor(), run_and_keep(&pool_, std::move(work), steady_clock::now() + limit, &out));
    return out.get_future().get();
  }

  IoThreads io_;
  WorkerPool pool_;
  TaskGroup tasks_{"test"};
};

constexpr std::chrono::milliseconds kLong{10'000};

TEST_F(RunOnTest, GivesTheResult) {
  std::thread::id thread;
  EXPECT_EQ(*run(
                [&]() -> Result<std::string> {
                  thread = std::this_thread::get_id();
                  return std::string("done");
                },
                kLong),
            "done");
  EXPECT_NE(thread, std::this_thread::get_id());
  EXPECT_EQ(run([]() -> Result<std::string> { return not_found("no run"); }, kLong).status().to_string(),
            "not_found: no run");
  EXPECT_EQ(run([]() -> Result<std::string> { throw std::runtime_error("bad"); }, kLong).status().to_string(),
            "internal: unexpected exception: bad");
}

TEST_F(RunOnTest, DoesNotWaitForeverAndDoesNotBeginWhatIsTooLate) {
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  std::atomic<bool> began = false;
  auto blocked = [released]() -> Result<std::string> {
    released.wait();
    return std::string("late");
  };
  EXPECT_EQ(run(blocked, std::chrono::milliseconds(20)).status().code(), Code::kDeadline);
  EXPECT_EQ(run(
                [&]() -> Result<std::string> {
                  began = true;
                  return std::string();
                },
                std::chrono::milliseconds(20))
                .status()
                .code(),
            Code::kDeadline);
  EXPECT_EQ(run(blocked, kLong).status().code(), Code::kResourceExhausted) << "the queue of one is taken";
  release.set_value();
  pool_.stop();
  EXPECT_FALSE(began);
}

}  // namespace
}  // namespace freshet::async
