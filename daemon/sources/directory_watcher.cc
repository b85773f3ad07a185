#include "daemon/sources/directory_watcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/crash_point.h"
#include "base/log.h"
#include "daemon/sources/uri.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;

constexpr size_t kSliceBytes = 4 << 20;
// While many files wait to be digested, what is done so far is shown this often.
constexpr Duration kPublishEvery = Duration::millis(50);
constexpr uint32_t kEvents = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF |
                             IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK;

int64_t nanoseconds(const timespec& time) { return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec; }

std::string every(Duration duration) {
  if (duration.us % 1'000'000 == 0) return std::to_string(duration.us / 1'000'000) + " s";
  return std::to_string(duration.us / 1000) + " ms";
}

}  // namespace

DirectoryWatcher::Identity DirectoryWatcher::identity_of(const struct stat& info) {
  return {info.st_dev, info.st_ino, info.st_size, nanoseconds(info.st_mtim), nanoseconds(info.st_ctim)};
}

// A read lease is granted only while nobody has the file open for writing. It is given back at once; a writer that
// comes in between waits for that moment, and the signal about it is one that is ignored unless asked for.
bool DirectoryWatcher::is_open_for_writing(const fs::path& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.is_open()) return false;
  if (::fcntl(fd.get(), F_SETSIG, SIGURG) != 0) return false;
  if (::fcntl(fd.get(), F_SETLEASE, F_RDLCK) == 0) {
    ::fcntl(fd.get(), F_SETLEASE, F_UNLCK);
    return false;
  }
  return errno == EAGAIN;  // any other error: leases are not for us here, and being unchanged must do
}

DirectoryWatcher::DirectoryWatcher(DirectoryWatcherOptions options, std::function<void()> changed)
    : options_(std::move(options)),
      changed_(std::move(changed)),
      buffer_(kSliceBytes),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK(stop_.is_open());
  thread_ = std::thread([this] { run(); });
}

DirectoryWatcher::~DirectoryWatcher() {
  uint64_t one = 1;
  CHECK(::write(stop_.get(), &one, sizeof one) == sizeof one);
  thread_.join();
}

SourceObservation DirectoryWatcher::observe() const {
  std::lock_guard lock(mutex_);
  return observation_;
}

void DirectoryWatcher::run() {
  for (;;) {
    Time now = clock_.monotonic();
    if (!inotify_.is_open() && now >= arm_at_) arm();
    if (scanned_ && now >= scan_at_) scan();
    settle();
    publish();
    pollfd fds[2] = {{stop_.get(), POLLIN, 0}, {inotify_.get(), POLLIN, 0}};  // poll skips a descriptor of -1
    if (::poll(fds, 2, timeout_ms()) < 0 && errno != EINTR) {
      log_error("sources", errno_status("poll for " + options_.directory.string(), errno).message());
    }
    if ((fds[0].revents & POLLIN) != 0) return;
    if ((fds[1].revents & POLLIN) != 0) read_events();
    digest_slice();
  }
}

int DirectoryWatcher::timeout_ms() const {
  if (digesting_ || !queue_.empty()) return 0;
  Time next = Time::never();
  if (!inotify_.is_open()) next = std::min(next, arm_at_);
  if (scanned_) next = std::min(next, scan_at_);
  for (const std::string& name : settling_) next = std::min(next, files_.at(name).check_at);
  int64_t wait = (next - clock_.monotonic()).us;
  return static_cast<int>(std::clamp<int64_t>(wait / 1000 + 1, 0, 60'000));
}

void DirectoryWatcher::arm() {
  arm_at_ = clock_.monotonic() + options_.retry;
  std::string name = options_.directory.string();
  Fd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  int error = inotify.is_open() ? 0 : errno;
  if (error == 0 && ::inotify_add_watch(inotify.get(), name.c_str(), kEvents) < 0) error = errno;
  struct stat info{};
  if (::stat(name.c_str(), &info) == 0) watched_ = identity_of(info);
  watch_problem_.clear();
  if (error == 0) {
    inotify_ = std::move(inotify);
  } else {
    watch_problem_ = "directory " + name + " can't be watched: " + std::strerror(error) + "; scanning it every " +
                     every(options_.retry);
  }
  scan();
}

// Looks at everything that lies in the directory, and sets `problem_` by whether it could.
void DirectoryWatcher::scan() {
  scan_at_ = clock_.monotonic() + options_.scan_every;
  std::string name = options_.directory.string();
  struct stat info{};
  std::error_code error;
  if (::stat(name.c_str(), &info) != 0) error = std::error_code(errno, std::generic_category());
  if (!error && inotify_.is_open()) {
    Identity now = identity_of(info);
    if (now.device != watched_.device || now.inode != watched_.inode) {
      inotify_.reset();  // another directory now lies under the path
      arm_at_ = Time{};
    }
  }
  CRASH_POINT("source.directory.before_scan");
  std::set<std::string> found;
  if (!error) {
    for (fs::directory_iterator item(options_.directory, error), end; !error && item != end; item.increment(error)) {
      found.insert(item->path().filename().string());
    }
  }
  if (error) {
    inotify_.reset();
    problem_ = error.value() == ENOENT    ? "directory " + name + " does not exist"
               : error.value() == ENOTDIR ? name + " is not a directory"
                                          : "directory " + name + " can't be read: " + error.message();
    problem_ += "; looking again every " + every(options_.retry);
    scanned_ = true;
    return;
  }
  CRASH_POINT("source.directory.after_scan");
  problem_.clear();
  scanned_ = true;
  for (const std::string& file : found) see(file, false);
  std::vector<std::string> gone;
  for (const auto& [file, state] : files_) {
    if (!found.contains(file)) gone.push_back(file);
  }
  for (const std::string& file : gone) forget(file);
}

void DirectoryWatcher::read_events() {
  alignas(inotify_event) char buffer[64 << 10];
  while (inotify_.is_open()) {
    ssize_t size = ::read(inotify_.get(), buffer, sizeof buffer);
    if (size <= 0) {
      if (size < 0 && errno == EINTR) continue;
      return;
    }
    for (char* at = buffer; at < buffer + size;) {
      auto* event = reinterpret_cast<inotify_event*>(at);
      at += sizeof(inotify_event) + event->len;
      if ((event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) != 0) {
        inotify_.reset();
        arm_at_ = Time{};
        return;
      }
      if ((event->mask & IN_Q_OVERFLOW) != 0) {
        log_warning("sources", "events of " + options_.directory.string() + " were lost; scanning it");
        scan_at_ = Time{};
      } else if (event->len > 0 && (event->mask & IN_ISDIR) == 0) {
        see(event->name, (event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0);
      }
    }
  }
}

// Looks at one name. `complete`: its writer has closed it or renamed it in, so it need not settle.
void DirectoryWatcher::see(const std::string& name, bool complete) {
  if (!is_entry_name(name, options_.glob)) return;
  struct stat info{};
  if (::stat((options_.directory / name).c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
    forget(name);
    return;
  }
  File& file = files_[name];
  Identity identity = identity_of(info);
  Time now = clock_.monotonic();
  if (identity != file.identity) {
    file.identity = identity;
    file.unchanged_since = now;
    file.check_at = now;
    file.stage = Stage::kSettling;
    settling_.insert(name);
    if (digesting_ && digesting_->name == name) digesting_.reset();
  }
  if (complete) enqueue(name, file);
}

void DirectoryWatcher::forget(const std::string& name) {
  auto found = files_.find(name);
  if (found == files_.end()) return;
  if (found->second.observed) files_changed_ = true;
  if (digesting_ && digesting_->name == name) digesting_.reset();
  settling_.erase(name);
  files_.erase(found);
}

void DirectoryWatcher::enqueue(const std::string& name, File& file) {
  settling_.erase(name);
  if (digesting_ && digesting_->name == name) {
    digesting_.reset();
    file.stage = Stage::kSettling;
  }
  if (file.stage != Stage::kQueued) queue_.push_back(name);
  file.stage = Stage::kQueued;
}

// Takes those settling files that have lain still long enough.
void DirectoryWatcher::settle() {
  Time now = clock_.monotonic();
  std::vector<std::string> due;
  for (const std::string& name : settling_) {
    if (files_.at(name).check_at <= now) due.push_back(name);
  }
  for (const std::string& name : due) {
    see(name, false);
    auto found = files_.find(name);
    if (found == files_.end()) continue;
    File& file = found->second;
    // Its own change time says so at once for what has long lain there; a clock that jumped must not, hence the second.
    Duration since_change{clock_.now().us - file.identity.changed_ns / 1000};
    Duration seen_still = now - file.unchanged_since;
    if (since_change < options_.settle && seen_still < options_.settle) {
      Duration left = std::min(options_.settle - std::max(since_change, Duration{}), options_.settle - seen_still);
      file.check_at = now + left;
    } else if (is_open_for_writing(options_.directory / name)) {
      file.check_at = now + options_.settle;  // closing it is an event, too
    } else {
      enqueue(name, file);
    }
  }
}

void DirectoryWatcher::digest_slice() {
  if (!digesting_) {
    if (queue_.empty()) return;
    std::string name = queue_.front();
    queue_.pop_front();
    // A name stays in the queue when its file goes, changes or is queued anew.
    if (auto file = files_.find(name); file == files_.end() || file->second.stage != Stage::kQueued) return;
    Fd fd(::open((options_.directory / name).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat info{};
    if (!fd.is_open() || ::fstat(fd.get(), &info) != 0) {
      if (errno == ENOENT) {
        forget(name);
      } else {
        fail_file(name, std::strerror(errno));
      }
      return;
    }
    digesting_ = Digesting{name, std::move(fd), identity_of(info), {}};
    CRASH_POINT("source.file.before_digest");
  }
  ssize_t size = ::read(digesting_->fd.get(), buffer_.data(), buffer_.size());
  if (size < 0 && errno == EINTR) return;
  if (size < 0) {
    fail_file(digesting_->name, std::strerror(errno));
    digesting_.reset();
  } else if (size == 0) {
    finish_digest();
  } else {
    digesting_->hash.update(buffer_.data(), static_cast<size_t>(size));
  }
}

void DirectoryWatcher::finish_digest() {
  Digesting done = std::move(*digesting_);
  digesting_.reset();
  File& file = files_.at(done.name);
  struct stat info{};
  if (::stat((options_.directory / done.name).c_str(), &info) != 0 || identity_of(info) != done.identity) {
    // It was replaced or written to meanwhile: what was read is no state that it ever had.
    file.identity = {};
    see(done.name, false);
    return;
  }
  file.identity = done.identity;
  file.stage = Stage::kDigested;
  file.error.clear();
  ObservedFile observed{done.name, static_cast<uint64_t>(done.identity.size), done.hash.finish_hex(),
                        Time{done.identity.changed_ns / 1000}};
  if (file.observed && file.observed->sha256 == observed.sha256 && file.observed->size == observed.size) return;
  file.observed = std::move(observed);
  CRASH_POINT("source.file.after_digest");
  files_changed_ = true;
}

void DirectoryWatcher::fail_file(const std::string& name, const std::string& error) {
  File& file = files_.at(name);
  file.error = error;
  file.stage = Stage::kSettling;
  file.check_at = clock_.monotonic() + options_.retry;
  settling_.insert(name);
}

// Shows what is known, when it differs from what was shown.
void DirectoryWatcher::publish() {
  Time now = clock_.monotonic();
  bool busy = digesting_ || !queue_.empty();
  bool shown = observation_.known;  // only this thread writes it
  if (!scanned_ || (busy && (!shown || now - published_at_ < kPublishEvery))) return;

  std::string message = problem_.empty() ? watch_problem_ : problem_;
  if (message.empty()) {
    for (const std::string& name : settling_) {
      const std::string& error = files_.at(name).error;
      if (error.empty()) continue;
      message = "file " + name + " can't be read: " + error + "; trying again every " + every(options_.retry);
      break;
    }
  }
  std::set<std::string> pending = settling_;
  // A name stays in the queue when its file goes.
  for (const std::string& name : queue_) {
    if (files_.contains(name)) pending.insert(name);
  }
  if (digesting_) pending.insert(digesting_->name);
  if (shown && !files_changed_ && message == observation_.message && pending == observation_.pending_files) return;
  CRASH_POINT("source.files.before_publish");
  {
    std::lock_guard lock(mutex_);
    observation_.known = true;
    observation_.degraded = !message.empty();
    observation_.message = message;
    observation_.pending_files = std::move(pending);
    if (files_changed_) {
      observation_.files.clear();
      for (const auto& [name, file] : files_) {
        if (file.observed) observation_.files.push_back(*file.observed);
      }
    }
  }
  files_changed_ = false;
  published_at_ = now;
  if (changed_) changed_();
  CRASH_POINT("source.files.after_publish");
}

}  // namespace freshet
