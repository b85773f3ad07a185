#include "daemon/async/loop_runner.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace freshet::async {
namespace {

// A wait ends at least this often, so that a jump of the wall clock is seen.
constexpr Duration kWaitMax = Duration::seconds(1);
// A reconciler that asks for a time that has come already does not get the whole processor.
constexpr Duration kWaitMin = Duration::millis(1);
constexpr Duration kRetryAfterFailure = Duration::seconds(1);

}  // namespace

LoopRunner::LoopRunner(std::vector<control::Reconciler*> reconcilers, const Clock& clock, OnFailure on_failure)
    : clock_(clock), on_failure_(std::move(on_failure)) {
  for (control::Reconciler* reconciler : reconcilers) {
    Entry entry{reconciler, Time::never(), {}};
    entry.stats.name = reconciler->name();
    entries_.push_back(std::move(entry));
  }
}

LoopRunner::~LoopRunner() { stop(); }

void LoopRunner::start() {
  CHECK(!thread_.joinable());
  thread_ = std::thread([this] { run(); });
}

void LoopRunner::stop() {
  {
    std::lock_guard lock(mutex_);
    is_stopped_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void LoopRunner::wake() {
  {
    std::lock_guard lock(mutex_);
    is_woken_ = true;
  }
  changed_.notify_all();
}

std::vector<LoopStats> LoopRunner::stats() const {
  std::lock_guard lock(mutex_);
  std::vector<LoopStats> all;
  for (const Entry& entry : entries_) all.push_back(entry.stats);
  return all;
}

void LoopRunner::run() {
  std::unique_lock lock(mutex_);
  Time seen;
  while (!is_stopped_) {
    Time now = clock_.now();
    // After a step back the times that were asked for may be far away.
    bool all = std::exchange(is_woken_, false) || now < seen;
    seen = now;
    for (Entry& entry : entries_) {
      if (is_stopped_) return;
      if (all || entry.due <= now) call(entry, lock);
    }
    if (is_woken_ || is_stopped_) continue;
    Time due = Time::never();
    for (const Entry& entry : entries_) due = std::min(due, entry.due);
    Duration until_due = due == Time::never() ? kWaitMax : due - clock_.now();
    Duration limit = std::clamp(until_due, kWaitMin, kWaitMax);
    changed_.wait_for(lock, std::chrono::microseconds(limit.us), [this] { return is_woken_ || is_stopped_; });
  }
}

void LoopRunner::call(Entry& entry, std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  Time begin = clock_.monotonic();
  Time due;
  std::string failure;
  try {
    due = entry.reconciler->reconcile(clock_.now());
  } catch (const std::exception& error) {
    failure = error.what();
    log_error("control", entry.stats.name + ": unexpected exception: " + failure);
    if (on_failure_) on_failure_(entry.stats.name + ": " + failure);
    due = clock_.now() + kRetryAfterFailure;
  }
  Duration took = clock_.monotonic() - begin;
  lock.lock();
  entry.due = due;
  entry.stats.rounds += 1;
  entry.stats.failures += failure.empty() ? 0 : 1;
  entry.stats.busy = entry.stats.busy + took;
  entry.stats.longest = std::max(entry.stats.longest, took);
}

}  // namespace freshet::async
