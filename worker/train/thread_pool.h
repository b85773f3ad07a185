// Threads that stay: one rank's workers for the micro-batches of every step. The calling thread works too, as number 0.
// Owned by a training; run() is called from one thread at a time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/status.h"

namespace freshet::worker {

class ThreadPool {
 public:
  // `threads` in all, the caller's among them; at least 1.
  explicit ThreadPool(unsigned threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  unsigned threads() const { return static_cast<unsigned>(running_.size()) + 1; }

  // job(index, thread) for every index < count, each once, lower ones first; `thread` < threads() is not used by two
  // jobs at a time. The error of the lowest index that failed; all jobs run. Exceptions become Status.
  Status run(size_t count, const std::function<Status(size_t, unsigned)>& job);

 private:
  struct Work {
    size_t count = 0;
    const std::function<Status(size_t, unsigned)>* job = nullptr;
  };
  void serve(unsigned thread);
  void take_jobs(unsigned thread);

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Work work_;
  size_t next_ = 0;
  unsigned busy_ = 0;
  uint64_t round_ = 0;
  bool stopping_ = false;
  size_t failed_index_ = 0;
  Status failure_;
  std::vector<std::thread> running_;
};

}  // namespace freshet::worker
