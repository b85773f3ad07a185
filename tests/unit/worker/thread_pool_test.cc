#include "worker/train/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>

namespace freshet::worker {
namespace {

class Pool : public testing::TestWithParam<unsigned> {};

TEST_P(Pool, RunsEveryJobOnceInEveryRound) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.threads(), GetParam());
  for (int round = 0; round < 200; ++round) {
    std::vector<std::atomic<int>> runs(13);
    std::vector<std::atomic<int>> inside(pool.threads());
    std::atomic<bool> shared{false};
    Status status = pool.run(runs.size(), [&](size_t index, unsigned thread) {
      if (inside[thread].fetch_add(1) != 0) shared = true;
      runs[index].fetch_add(1);
      inside[thread].fetch_sub(1);
      return Status::ok();
    });
    ASSERT_TRUE(status.is_ok());
    ASSERT_FALSE(shared);
    for (auto& count : runs) ASSERT_EQ(count.load(), 1);
  }
}

TEST_P(Pool, GivesTheErrorOfTheLowestIndexAndGoesOn) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 50; ++round) {
    Status status = pool.run(9, [](size_t index, unsigned) -> Status {
      if (index == 3) throw std::runtime_error("three");
      return index > 3 ? internal("later") : Status::ok();
    });
    ASSERT_EQ(status.message(), "three");
  }
  EXPECT_TRUE(pool.run(0, [](size_t, unsigned) { return internal("never"); }).is_ok());
}

INSTANTIATE_TEST_SUITE_P(Threads, Pool, testing::Values(1, 2, 5));

}  // namespace
}  // namespace freshet::worker
