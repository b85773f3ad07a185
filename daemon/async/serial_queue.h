// SerialQueue: jobs that run on a WorkerPool one at a time and in order, whichever thread each of them gets. For
// callbacks of one connection. post() from any thread; the queue may be dropped while jobs wait: they run all the same.
// The caller bounds how many jobs it posts.
#pragma once

#include <functional>
#include <memory>

#include "base/status.h"
#include "daemon/async/worker_pool.h"

namespace freshet::async {

class SerialQueue {
 public:
  explicit SerialQueue(WorkerPool& pool);

  // unavailable: the pool is stopped.
  Status post(std::function<void()> job);

 private:
  struct State;
  static void run_next(const std::shared_ptr<State>& state);

  std::shared_ptr<State> state_;
};

}  // namespace freshet::async
