#include "daemon/async/serial_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace freshet::async {
namespace {

TEST(SerialQueue, OneAtATimeAndInOrder) {
  WorkerPool pool("pool", 4, 10);
  std::atomic<bool> is_running = false;
  std::vector<int> order;
  {
    SerialQueue queue(pool);
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(queue
                      .post([&, i] {
                        EXPECT_FALSE(is_running.exchange(true));
                        order.push_back(i);
                        is_running = false;
                      })
                      .is_ok());
    }
  }  // the queue may go before its jobs
  pool.stop();
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(SerialQueue, AJobThatThrowsDoesNotHoldTheOthers) {
  WorkerPool pool("pool", 2, 10);
  SerialQueue queue(pool);
  std::atomic<int> done = 0;
  ASSERT_TRUE(queue.post([] { throw std::runtime_error("broken on purpose"); }).is_ok());
  ASSERT_TRUE(queue.post([&] { ++done; }).is_ok());
  pool.stop();
  EXPECT_EQ(done, 1);
  EXPECT_EQ(queue.post([] {}).code(), Code::kUnavailable);
}

}  // namespace
}  // namespace freshet::async
