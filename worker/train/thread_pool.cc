#include "worker/train/thread_pool.h"

#include <exception>

namespace freshet::worker {

ThreadPool::ThreadPool(unsigned threads) {
  CHECK(threads >= 1);
  for (unsigned thread = 1; thread < threads; ++thread) running_.emplace_back([this, thread] { serve(thread); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (auto& thread : running_) thread.join();
}

Status ThreadPool::run(size_t count, const std::function<Status(size_t, unsigned)>& job) {
  const bool alone = count <= 1;  // the others need not wake up for it
  {
    std::lock_guard lock(mutex_);
    work_ = {count, &job};
    next_ = 0;
    failure_ = Status::ok();
    busy_ = alone ? 0 : static_cast<unsigned>(running_.size());
    if (!alone) ++round_;
  }
  if (!alone) wake_.notify_all();
  take_jobs(0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return busy_ == 0; });
  return failure_;
}

void ThreadPool::serve(unsigned thread) {
  uint64_t seen = 0;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || round_ != seen; });
      if (stopping_) return;
      seen = round_;
    }
    take_jobs(thread);
    std::lock_guard lock(mutex_);
    if (--busy_ == 0) done_.notify_one();
  }
}

void ThreadPool::take_jobs(unsigned thread) {
  while (true) {
    size_t index = 0;
    const std::function<Status(size_t, unsigned)>* job = nullptr;
    {
      std::lock_guard lock(mutex_);
      if (next_ == work_.count) return;
      index = next_++;
      job = work_.job;
    }
    Status status;
    try {
      status = (*job)(index, thread);
    } catch (const std::exception& error) {
      status = internal(error.what());
    }
    if (status.is_ok()) continue;
    std::lock_guard lock(mutex_);
    if (failure_.is_ok() || index < failed_index_) {
      failure_ = status;
      failed_index_ = index;
    }
  }
}

}  // namespace freshet::worker
