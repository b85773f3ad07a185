#include "scheduler/retry.h"

#include "scheduler/text.h"

namespace freshet::scheduler {
namespace {

constexpr uint32_t kAttemptsDefault = 3;
constexpr int kKill = 9;
constexpr int kTerminate = 15;
constexpr int kShellSignalBase = 128;

std::string signal_name(int signal) {
  switch (signal) {
    case 4:
      return "SIGILL";
    case 6:
      return "SIGABRT";
    case 7:
      return "SIGBUS";
    case 8:
      return "SIGFPE";
    case kKill:
      return "SIGKILL";
    case 11:
      return "SIGSEGV";
    case kTerminate:
      return "SIGTERM";
    default:
      return "signal " + std::to_string(signal);
  }
}

struct Blame {
  bool users = false;
  std::string what;
};

bool from_outside(int signal) { return signal == kKill || signal == kTerminate; }

Blame blame_for(const v1::ExitRecord& exit) {
  using v1::ExitRecord;
  switch (exit.cause()) {
    case ExitRecord::EXITED: {
      int signal = exit.code() - kShellSignalBase;
      if (from_outside(signal)) return {false, "was killed by " + signal_name(signal)};
      return {true, "exited with code " + std::to_string(exit.code())};
    }
    case ExitRecord::SIGNALLED:
      if (from_outside(exit.signal())) return {false, "was killed by " + signal_name(exit.signal())};
      return {true, "crashed with " + signal_name(exit.signal())};
    case ExitRecord::OUT_OF_MEMORY:
      return {true, "ran out of memory"};
    case ExitRecord::TIMED_OUT:
      return {true, "ran into its timeout"};
    case ExitRecord::START_FAILED:
      return {false, "could not be started"};
    case ExitRecord::LOST:
      return {false, "was lost, cause unknown"};
    default:
      return {false, "ended for an unknown cause"};
  }
}

}  // namespace

RetryDecision decide_retry(const v1::ExitRecord& exit, uint32_t user_failures, uint32_t infrastructure_failures,
                           uint32_t max_attempts) {
  if (exit.cause() == v1::ExitRecord::STOPPED) return {false, false, "was stopped by request"};
  auto [users, what] = blame_for(exit);
  RetryDecision decision;
  decision.users_fault = users;
  uint32_t limit = users ? (max_attempts == 0 ? kAttemptsDefault : max_attempts) : kInfrastructureFailuresMax;
  uint32_t failures = (users ? user_failures : infrastructure_failures) + 1;
  decision.retry = failures < limit;
  decision.reason = what;
  if (!exit.message().empty()) decision.reason += ": " + exit.message();
  std::string count = std::to_string(failures) + " of " + std::to_string(limit);
  decision.reason += (users ? " (failure " : " (infrastructure failure ") + count +
                     (decision.retry ? ", tried again)" : ", given up)");
  return decision;
}

}  // namespace freshet::scheduler
