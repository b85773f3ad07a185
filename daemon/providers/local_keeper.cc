#include "daemon/providers/local_keeper.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"

namespace freshet {
namespace {

// How long a new agent has to say who it is, and how often that is looked for.
constexpr Duration kStartLimit = Duration::seconds(10);
constexpr Duration kLookEvery = Duration::millis(50);
// An agent that has lived for so long was a good one: the next is started at once.
constexpr Duration kGoodLife = Duration::seconds(10);
constexpr int kBackoffFactorMax = 32;

}  // namespace

LocalAgentKeeper::LocalAgentKeeper(LocalProvider provider, Duration backoff)
    : provider_(std::move(provider)), backoff_(backoff), stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK(stop_.is_open());
  thread_ = std::thread([this] { run(); });
}

LocalAgentKeeper::~LocalAgentKeeper() {
  const uint64_t one = 1;
  CHECK(::write(stop_.get(), &one, sizeof one) == sizeof one);
  thread_.join();
}

bool LocalAgentKeeper::pause(Duration limit) {
  pollfd stop{stop_.get(), POLLIN, 0};
  return ::poll(&stop, 1, static_cast<int>(limit.us / 1000)) > 0;
}

bool LocalAgentKeeper::await_end() {
  const Time deadline = clock_.monotonic() + kStartLimit;
  for (;;) {
    auto process = provider_.find();
    if (process.is_ok() && *process) {
      auto pidfd = open_process(**process);
      if (!pidfd.is_ok()) return true;
      pollfd fds[] = {{stop_.get(), POLLIN, 0}, {pidfd->get(), POLLIN, 0}};
      while (::poll(fds, 2, -1) < 0) {
      }
      return true;
    }
    if (clock_.monotonic() > deadline || pause(kLookEvery)) return false;
  }
}

void LocalAgentKeeper::run() {
  for (int factor = 1;; factor = std::min(2 * factor, kBackoffFactorMax)) {
    const Time begin = clock_.monotonic();
    if (Status status = provider_.ensure_running(); !status.is_ok()) {
      log_error("provider", "the local agent: " + status.to_string());
    } else if (await_end() && !pause({})) {
      log_warning("provider", "the local agent has ended; starting another");
    }
    if (clock_.monotonic() - begin > kGoodLife) factor = 1;
    if (pause(Duration::micros(backoff_.us * factor))) return;
  }
}

}  // namespace freshet
