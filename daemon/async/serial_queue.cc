#include "daemon/async/serial_queue.h"

#include <deque>
#include <exception>
#include <mutex>
#include <utility>

#include "base/log.h"

namespace freshet::async {

struct SerialQueue::State {
  explicit State(WorkerPool& p) : pool(p) {}
  WorkerPool& pool;
  std::mutex mutex;
  std::deque<std::function<void()>> jobs;  // guarded by mutex
  bool is_running = false;                 // guarded by mutex: one job is in the pool's hands
};

SerialQueue::SerialQueue(WorkerPool& pool) : state_(std::make_shared<State>(pool)) {}

Status SerialQueue::post(std::function<void()> job) {
  {
    std::lock_guard lock(state_->mutex);
    state_->jobs.push_back(std::move(job));
    if (std::exchange(state_->is_running, true)) return Status::ok();
  }
  Status status = state_->pool.submit([state = state_] { run_next(state); }, Admission::kSelfBounded);
  if (!status.is_ok()) {
    std::lock_guard lock(state_->mutex);
    state_->is_running = false;
    state_->jobs.clear();
  }
  return status;
}

// All that wait, not one at a time through the pool: a pool that is stopping runs what it has but takes nothing new.
void SerialQueue::run_next(const std::shared_ptr<State>& state) {
  for (;;) {
    std::function<void()> job;
    {
      std::lock_guard lock(state->mutex);
      if (state->jobs.empty()) {
        state->is_running = false;
        return;
      }
      job = std::move(state->jobs.front());
      state->jobs.pop_front();
    }
    try {
      job();
    } catch (const std::exception& error) {
      log_error("async", std::string("unexpected exception in a callback: ") + error.what());
    }
  }
}

}  // namespace freshet::async
