#include "worker/checkpoint/background.h"

#include <exception>

#include "base/check.h"

namespace freshet::worker {

Background::Background() : thread_([this] { serve(); }) {}

Background::~Background() {
  stop_.store(true);
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Background::start(Job job) {
  {
    std::lock_guard lock(mutex_);
    CHECK(done_);
    job_ = std::move(job);
    done_ = false;
  }
  changed_.notify_all();
}

bool Background::is_done() {
  std::lock_guard lock(mutex_);
  return done_;
}

Status Background::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return done_; });
  return result_;
}

void Background::serve() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return quit_ || !done_; });
    if (done_) return;
    Job job = std::move(job_);
    lock.unlock();
    Status result;
    try {
      result = job(stop_);
    } catch (const std::exception& error) {
      result = internal(error.what());
    }
    lock.lock();
    result_ = std::move(result);
    done_ = true;
    changed_.notify_all();
  }
}

}  // namespace freshet::worker
