// WorkerPool: threads for work that may block (request handlers, the store, files), behind a bounded queue. Owned by
// the app; submit() from any thread. It knows nothing of coroutines: run_on.h awaits a job.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"

namespace freshet::async {

enum class Admission {
  kBounded,      // refused when the queue is full
  kSelfBounded,  // always queued: the caller has at most one job at a time here, and the number of such callers is
                 // bounded
};

class WorkerPool {
 public:
  WorkerPool(std::string name, size_t threads, size_t queue_max);
  // Stops.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // resource_exhausted: the queue is full. unavailable: stopped. A job that throws is logged and counted.
  Status submit(std::function<void()> job, Admission admission = Admission::kBounded);

  // Runs what is queued, takes nothing more, and joins the threads. Idempotent; not from a job.
  void stop();

  size_t queued() const;
  size_t failures() const;

 private:
  void work();

  const std::string name_;
  const size_t queue_max_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;  // guarded by mutex_
  bool is_stopped_ = false;                  // guarded by mutex_
  size_t failures_ = 0;                      // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace freshet::async
