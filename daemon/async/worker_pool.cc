#include "daemon/async/worker_pool.h"

#include <exception>
#include <utility>

#include "base/log.h"

namespace freshet::async {

WorkerPool::WorkerPool(std::string name, size_t threads, size_t queue_max)
    : name_(std::move(name)), queue_max_(queue_max) {
  CHECK(threads > 0);
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

WorkerPool::~WorkerPool() { stop(); }

Status WorkerPool::submit(std::function<void()> job, Admission admission) {
  {
    std::lock_guard lock(mutex_);
    if (is_stopped_) return unavailable(name_ + " is stopping");
    if (admission == Admission::kBounded && queue_.size() >= queue_max_) {
      return resource_exhausted(name_ + " is busy: " + std::to_string(queue_.size()) + " wait already");
    }
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
  return Status::ok();
}

void WorkerPool::stop() {
  {
    std::lock_guard lock(mutex_);
    is_stopped_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

size_t WorkerPool::queued() const {
  std::lock_guard lock(mutex_);
  return queue_.size();
}

size_t WorkerPool::failures() const {
  std::lock_guard lock(mutex_);
  return failures_;
}

void WorkerPool::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return is_stopped_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::function<void()> job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    bool failed = false;
    try {
      job();
    } catch (const std::exception& error) {
      failed = true;
      log_error(name_, std::string("unexpected exception in a job: ") + error.what());
    }
    job = nullptr;  // what it holds is released without the lock
    lock.lock();
    if (failed) ++failures_;
  }
}

}  // namespace freshet::async
