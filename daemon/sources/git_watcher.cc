#include "daemon/sources/git_watcher.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/crash_point.h"

namespace freshet {

GitWatcher::GitWatcher(GitMirror mirror, Duration poll_interval, std::function<void()> changed)
    : mirror_(std::move(mirror)),
      poll_interval_(std::max(poll_interval, Duration::millis(10))),
      changed_(std::move(changed)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK(stop_.is_open());
  thread_ = std::thread([this] { run(); });
}

GitWatcher::~GitWatcher() {
  stopping_ = true;
  uint64_t one = 1;
  CHECK(::write(stop_.get(), &one, sizeof one) == sizeof one);
  thread_.join();
}

SourceObservation GitWatcher::observe() const {
  std::lock_guard lock(mutex_);
  return observation_;
}

void GitWatcher::run() {
  do {
    // Watched before it is looked at, so that no move falls between.
    if (!inotify_.is_open()) watch_references();
    look();
  } while (wait());
}

void GitWatcher::look() {
  Result<std::string> head = mirror_.fetch(stopping_);
  if (stopping_) return;
  SourceObservation next;
  next.known = true;
  if (head.is_ok()) {
    next.head_commit = *head;
  } else {
    next.head_commit = observation_.known ? observation_.head_commit : mirror_.known_head();
    next.degraded = true;
    next.message = head.status().message() + "; trying again every " + std::to_string(poll_interval_.us / 1000) + " ms";
  }
  bool same = next.known == observation_.known && next.degraded == observation_.degraded &&
              next.message == observation_.message && next.head_commit == observation_.head_commit;
  if (same) return;
  CRASH_POINT("git.head.before_publish");
  {
    std::lock_guard lock(mutex_);
    observation_ = std::move(next);
  }
  if (changed_) changed_();
  CRASH_POINT("git.head.after_publish");
}

void GitWatcher::watch_references() {
  Fd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify.is_open()) return;  // polling goes on without
  bool any = false;
  for (const std::filesystem::path& directory : mirror_.reference_directories()) {
    uint32_t events = IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
    any = ::inotify_add_watch(inotify.get(), directory.c_str(), events) >= 0 || any;
  }
  if (any) inotify_ = std::move(inotify);
}

bool GitWatcher::wait() {
  pollfd fds[2] = {{stop_.get(), POLLIN, 0}, {inotify_.get(), POLLIN, 0}};  // poll skips a descriptor of -1
  int timeout = static_cast<int>(std::min<int64_t>(poll_interval_.us / 1000, 3'600'000));
  ::poll(fds, 2, timeout);
  if (stopping_) return false;
  if ((fds[1].revents & POLLIN) == 0) return true;
  alignas(inotify_event) char buffer[16 << 10];
  for (ssize_t size = 0; (size = ::read(inotify_.get(), buffer, sizeof buffer)) > 0;) {
    for (char* at = buffer; at < buffer + size;) {
      auto* event = reinterpret_cast<inotify_event*>(at);
      at += sizeof(inotify_event) + event->len;
      if ((event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) != 0) {
        inotify_.reset();
        return true;
      }
    }
  }
  return true;
}

}  // namespace freshet
