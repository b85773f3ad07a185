#include "daemon/async/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <set>
#include <stdexcept>

namespace freshet::async {
namespace {

TEST(WorkerPool, RunsJobsOnItsThreads) {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::atomic<int> done = 0;
  WorkerPool pool("pool", 3, 1000);
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(pool.submit([&] {
                      std::lock_guard lock(mutex);
                      threads.insert(std::this_thread::get_id());
                      ++done;
                    })
                    .is_ok());
  }
  pool.stop();
  EXPECT_EQ(done, 300) << "stop() runs what is queued";
  EXPECT_LE(threads.size(), 3u);
  EXPECT_EQ(threads.count(std::this_thread::get_id()), 0u);
  EXPECT_EQ(pool.submit([] {}).to_string(), "unavailable: pool is stopping");
}

TEST(WorkerPool, TheQueueHasABound) {
  std::promise<void> release;
  std::promise<void> entered;
  WorkerPool pool("pool", 1, 2);
  ASSERT_TRUE(pool.submit([&] {
                    entered.set_value();
                    release.get_future().wait();
                  })
                  .is_ok());
  entered.get_future().wait();
  EXPECT_TRUE(pool.submit([] {}).is_ok());
  EXPECT_TRUE(pool.submit([] {}).is_ok());
  EXPECT_EQ(pool.submit([] {}).to_string(), "resource_exhausted: pool is busy: 2 wait already");
  EXPECT_TRUE(pool.submit([] {}, Admission::kSelfBounded).is_ok());
  EXPECT_EQ(pool.queued(), 3u);
  release.set_value();
}

TEST(WorkerPool, AJobThatThrowsEndsNoThread) {
  std::atomic<int> done = 0;
  WorkerPool pool("pool", 1, 10);
  ASSERT_TRUE(pool.submit([] { throw std::runtime_error("broken on purpose"); }).is_ok());
  ASSERT_TRUE(pool.submit([&] { ++done; }).is_ok());
  pool.stop();
  EXPECT_EQ(done, 1);
  EXPECT_EQ(pool.failures(), 1u);
}

}  // namespace
}  // namespace freshet::async
