// LoopRunner: the one thread of the control plane. It calls every registered Reconciler in order whenever it is woken,
// and each one when the time it asked for comes. Many wake-ups while a round runs make one more round. Owned by the
// app; wake() from any thread. It knows nothing of what the reconcilers do.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/time.h"
#include "daemon/control/reconciler.h"

namespace freshet::async {

struct LoopStats {
  std::string name;
  uint64_t rounds = 0;
  uint64_t failures = 0;  // unexpected exceptions; such a reconciler is called again after a second
  Duration busy;          // in all rounds together
  Duration longest;
};

class LoopRunner {
 public:
  using OnFailure = std::function<void(const std::string& what)>;

  // The reconcilers outlive the runner and are called only by its thread.
  LoopRunner(std::vector<control::Reconciler*> reconcilers, const Clock& clock, OnFailure on_failure = {});
  // Stops.
  ~LoopRunner();
  LoopRunner(const LoopRunner&) = delete;
  LoopRunner& operator=(const LoopRunner&) = delete;

  // The first round runs at once.
  void start();
  // Waits for the reconciler that runs now; calls no other. Idempotent.
  void stop();
  // Every reconciler is called soon. Cheap, also from inside a reconciler.
  void wake();

  std::vector<LoopStats> stats() const;

 private:
  struct Entry {
    control::Reconciler* reconciler;
    Time due;
    LoopStats stats;
  };

  void run();
  // Called with the lock, which it releases while the reconciler runs.
  void call(Entry& entry, std::unique_lock<std::mutex>& lock);

  const Clock& clock_;
  const OnFailure on_failure_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Entry> entries_;  // guarded by mutex_, as all below
  bool is_woken_ = true;
  bool is_stopped_ = false;
  std::thread thread_;
};

}  // namespace freshet::async
