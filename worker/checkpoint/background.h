// A thread that does one job at a time beside the training. Owned by one thread, which makes all calls. Destroying it
// sets the job's stop flag and waits for it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "base/status.h"

namespace freshet::worker {

class Background {
 public:
  // Looks at `stop` now and then, and ends soon when it is set.
  using Job = std::function<Status(const std::atomic<bool>& stop)>;

  Background();
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // The job before must be done. Exceptions become a Status.
  void start(Job job);
  bool is_done();
  // How the newest job ended, once it has; ok when there was none.
  Status wait();

 private:
  void serve();

  std::mutex mutex_;
  std::condition_variable changed_;
  Job job_;           // guarded by mutex_
  bool done_ = true;  // guarded by mutex_
  bool quit_ = false;
  Status result_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace freshet::worker
