// WatchedLoop: a reconciler that is left alone while nothing can have changed for it. It remembers what its last round
// read of the store; until one of those keys is written, the time it asked for comes, the clock goes back or somebody
// asks, a call returns at once. So a commit costs the loops that it concerns, not all of them. on_written() from any
// thread, reconcile() from the loop's; it outlives neither the reconciler nor whoever tells it of writes.
#pragma once

#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/control/reconciler.h"
#include "daemon/store/read_set.h"

namespace freshet::control {

class WatchedLoop final : public Reconciler {
 public:
  explicit WatchedLoop(Reconciler& reconciler) : reconciler_(reconciler) {}

  std::string_view name() const override { return reconciler_.name(); }
  Time reconcile(Time now) override;

  // These keys may have other values now. To be told of every write, after it.
  void on_written(const std::vector<std::string_view>& keys);
  // Something outside the store may have changed: the next call is a round.
  void ask();
  // Whether the next call may be a round, whatever the time.
  bool is_asked() const;

 private:
  Reconciler& reconciler_;
  mutable std::mutex mutex_;
  bool is_asked_ = true;
  bool is_running_ = false;
  Time last_round_, due_ = Time::never();
  ReadSet reads_;                               // of the last round
  std::vector<std::string> written_meanwhile_;  // during this round, which may or may not have seen it
};

// All loops of a daemon.
class WatchedLoops {
 public:
  explicit WatchedLoops(const std::vector<Reconciler*>& reconcilers);

  const std::vector<Reconciler*>& all() const { return all_; }
  WatchedLoop& operator[](size_t index) { return loops_[index]; }
  size_t size() const { return loops_.size(); }

  void on_written(const std::vector<std::string_view>& keys);
  void ask_all();
  // Only this one, by its name.
  void ask(std::string_view name);

 private:
  std::deque<WatchedLoop> loops_;
  std::vector<Reconciler*> all_;
};

}  // namespace freshet::control
