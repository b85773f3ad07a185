#include "daemon/control/watched_loop.h"

#include <algorithm>
#include <utility>

namespace freshet::control {

Time WatchedLoop::reconcile(Time now) {
  {
    std::lock_guard lock(mutex_);
    if (!is_asked_ && now >= last_round_ && now < due_) return due_;
    is_asked_ = false;
    last_round_ = now;
    is_running_ = true;
  }
  ReadSet reads;
  Time due = now;  // for a round that ends by an exception
  auto finish = [&] {
    std::lock_guard lock(mutex_);
    is_running_ = false;
    due_ = due;
    reads_ = std::move(reads);
    const auto written = std::exchange(written_meanwhile_, {});
    is_asked_ =
        is_asked_ || std::any_of(written.begin(), written.end(), [&](const auto& key) { return reads_.covers(key); });
  };
  try {
    ReadScope scope(&reads);
    due = reconciler_.reconcile(now);
  } catch (...) {
    finish();
    throw;
  }
  finish();
  return due;
}

void WatchedLoop::on_written(const std::vector<std::string_view>& keys) {
  std::lock_guard lock(mutex_);
  if (is_running_) {
    written_meanwhile_.insert(written_meanwhile_.end(), keys.begin(), keys.end());
  } else if (!is_asked_) {
    is_asked_ = std::any_of(keys.begin(), keys.end(), [&](std::string_view key) { return reads_.covers(key); });
  }
}

void WatchedLoop::ask() {
  std::lock_guard lock(mutex_);
  is_asked_ = true;
}

bool WatchedLoop::is_asked() const {
  std::lock_guard lock(mutex_);
  return is_asked_ || !written_meanwhile_.empty();
}

WatchedLoops::WatchedLoops(const std::vector<Reconciler*>& reconcilers) {
  for (Reconciler* reconciler : reconcilers) all_.push_back(&loops_.emplace_back(*reconciler));
}

void WatchedLoops::on_written(const std::vector<std::string_view>& keys) {
  for (WatchedLoop& loop : loops_) loop.on_written(keys);
}

void WatchedLoops::ask(std::string_view name) {
  for (WatchedLoop& loop : loops_) {
    if (loop.name() == name) loop.ask();
  }
}

void WatchedLoops::ask_all() {
  for (WatchedLoop& loop : loops_) loop.ask();
}

}  // namespace freshet::control
