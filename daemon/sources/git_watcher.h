// GitWatcher: the head of one branch, kept current by one thread of its own: a fetch every poll interval, and at once
// when the references of a repository on this machine change. What is missing shows as degraded, is named, and is tried
// again. Reading commits goes through mirror().
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "base/file.h"
#include "daemon/sources/git_mirror.h"
#include "daemon/sources/source.h"

namespace freshet {

class GitWatcher {
 public:
  // `changed` is called from the watcher's thread, without a lock, after the observation has changed.
  GitWatcher(GitMirror mirror, Duration poll_interval, std::function<void()> changed);
  // Waits for a fetch in progress, which is told to stop.
  ~GitWatcher();
  GitWatcher(const GitWatcher&) = delete;
  GitWatcher& operator=(const GitWatcher&) = delete;

  SourceObservation observe() const;
  const GitMirror& mirror() const { return mirror_; }

 private:
  void run();
  void look();
  void watch_references();
  // Until the poll interval has passed or a reference moved. False: the watcher must end.
  bool wait();

  const GitMirror mirror_;
  const Duration poll_interval_;
  const std::function<void()> changed_;

  Fd inotify_;  // the thread's own; not open: the references are not watched

  mutable std::mutex mutex_;  // guards the observation
  SourceObservation observation_;

  std::atomic<bool> stopping_{false};
  Fd stop_;  // an eventfd: readable once the watcher must end
  std::thread thread_;
};

}  // namespace freshet
