#include "base/crash_point.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>

#include "base/file.h"

namespace freshet {
namespace {

struct Handler {
  std::mutex mutex;
  std::shared_ptr<const std::function<void(std::string_view)>> call;  // guarded by mutex
  std::mutex environment;  // held while what the environment asked for is carried out, at one point at a time
};

// Never destroyed: a point may be reached while the process ends.
Handler& handler() {
  static auto* const instance = new Handler;
  return *instance;
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// What the environment asked for; used under the handler's mutex for it.
class FromEnvironment {
 public:
  static Result<FromEnvironment> read() {
    FromEnvironment wanted;
    wanted.once_ = variable("FRESHET_CRASH_ONCE");
    wanted.log_ = variable("FRESHET_CRASH_LOG");
    wanted.name_ = variable("FRESHET_CRASH_AT");
    const size_t colon = wanted.name_.find(':');
    if (colon != std::string::npos) {
      const std::string count = wanted.name_.substr(colon + 1);
      auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), wanted.left_);
      if (error != std::errc() || end != count.data() + count.size() || wanted.left_ == 0) {
        return invalid_argument("FRESHET_CRASH_AT is NAME or NAME:COUNT with a COUNT from 1, not " + wanted.name_);
      }
      wanted.name_.resize(colon);
    }
    return wanted;
  }

  bool is_empty() const { return name_.empty() && log_.empty(); }

  void reach(std::string_view name) {
    if (!log_.empty()) append(name);
    if (name != name_ || --left_ > 0) return;
    left_ = 1;  // a process that is not the first to make the file gets here again
    if (is_first()) ::raise(SIGKILL);
  }

 private:
  bool is_first() const {
    if (once_.empty()) return true;
    return Fd(::open(once_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)).is_open();
  }

  void append(std::string_view name) const {
    Fd fd(::open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    const std::string line = std::to_string(::getpid()) + " " + std::string(name) + "\n";
    CHECK(fd.is_open() && write_all(fd.get(), line.data(), line.size()).is_ok());
  }

  std::string name_, once_, log_;
  uint64_t left_ = 1;
};

}  // namespace

std::atomic<bool> crash_points_armed = false;

void reach_crash_point(std::string_view name) {
  Handler& current = handler();
  std::unique_lock lock(current.mutex);
  const auto call = current.call;
  lock.unlock();  // what the handler does may reach a point in its turn, on this thread or another
  if (call != nullptr) (*call)(name);
}

void set_crash_point_handler(std::function<void(std::string_view)> call) {
  Handler& current = handler();
  std::lock_guard lock(current.mutex);
  crash_points_armed = call != nullptr;
  current.call =
      call == nullptr ? nullptr : std::make_shared<const std::function<void(std::string_view)>>(std::move(call));
}

Status arm_crash_points_from_environment() {
  ASSIGN_OR_RETURN(FromEnvironment wanted, FromEnvironment::read());
  if (wanted.is_empty()) return Status::ok();
  // A child has a point, too, before it becomes another program: no other thread may hold a mutex while it is forked.
  static const auto kLock = [] { handler().environment.lock(), handler().mutex.lock(); };
  static const auto kUnlock = [] { handler().mutex.unlock(), handler().environment.unlock(); };
  static const int kHeldInForks = ::pthread_atfork(kLock, kUnlock, kUnlock);
  CHECK(kHeldInForks == 0);
  set_crash_point_handler([wanted = std::make_shared<FromEnvironment>(std::move(wanted))](std::string_view name) {
    std::lock_guard lock(handler().environment);
    wanted->reach(name);
  });
  return Status::ok();
}

}  // namespace freshet
