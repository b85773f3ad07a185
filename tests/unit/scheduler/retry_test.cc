#include "scheduler/retry.h"

#include <gtest/gtest.h>

#include "tests/unit/scheduler/text_proto.h"

namespace freshet::scheduler {
namespace {

struct RetryCase {
  const char* exit;
  uint32_t user_failures;
  uint32_t infrastructure_failures;
  uint32_t max_attempts;
  bool retry;
  bool users_fault;
  const char* reason;
};

class Retry : public testing::TestWithParam<RetryCase> {};

TEST_P(Retry, SpendsTheRightBudget) {
  const auto& c = GetParam();
  auto decision =
      decide_retry(parse<v1::ExitRecord>(c.exit), c.user_failures, c.infrastructure_failures, c.max_attempts);
  EXPECT_EQ(decision.retry, c.retry);
  EXPECT_EQ(decision.users_fault, c.users_fault);
  EXPECT_EQ(decision.reason, c.reason);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Retry,
    testing::Values(
        RetryCase{"cause: EXITED code: 1", 0, 0, 3, true, true, "exited with code 1 (failure 1 of 3, tried again)"},
        RetryCase{"cause: EXITED code: 1 message: 'no column x'", 1, 7, 3, true, true,
                  "exited with code 1: no column x (failure 2 of 3, tried again)"},
        RetryCase{"cause: EXITED code: 2", 2, 0, 3, false, true, "exited with code 2 (failure 3 of 3, given up)"},
        RetryCase{"cause: EXITED code: 2", 2, 0, 0, false, true, "exited with code 2 (failure 3 of 3, given up)"},
        RetryCase{"cause: EXITED code: 2", 0, 0, 1, false, true, "exited with code 2 (failure 1 of 1, given up)"},
        RetryCase{"cause: SIGNALLED signal: 11", 0, 0, 3, true, true,
                  "crashed with SIGSEGV (failure 1 of 3, tried again)"},
        RetryCase{"cause: SIGNALLED signal: 31", 0, 0, 3, true, true,
                  "crashed with signal 31 (failure 1 of 3, tried again)"},
        RetryCase{"cause: SIGNALLED signal: 9", 2, 0, 3, true, false,
                  "was killed by SIGKILL (infrastructure failure 1 of 10, tried again)"},
        RetryCase{"cause: EXITED code: 137", 2, 0, 3, true, false,
                  "was killed by SIGKILL (infrastructure failure 1 of 10, tried again)"},
        RetryCase{"cause: EXITED code: 143", 2, 8, 3, true, false,
                  "was killed by SIGTERM (infrastructure failure 9 of 10, tried again)"},
        RetryCase{"cause: EXITED code: 139", 0, 0, 3, true, true, "exited with code 139 (failure 1 of 3, tried again)"},
        RetryCase{"cause: OUT_OF_MEMORY signal: 9", 0, 0, 2, true, true,
                  "ran out of memory (failure 1 of 2, tried again)"},
        RetryCase{"cause: TIMED_OUT", 0, 0, 2, true, true, "ran into its timeout (failure 1 of 2, tried again)"},
        RetryCase{"cause: START_FAILED message: 'mpirun: not found'", 0, 0, 1, true, false,
                  "could not be started: mpirun: not found (infrastructure failure 1 of 10, tried again)"},
        RetryCase{"cause: LOST", 9, 9, 3, false, false,
                  "was lost, cause unknown (infrastructure failure 10 of 10, given up)"},
        RetryCase{"", 0, 0, 3, true, false, "ended for an unknown cause (infrastructure failure 1 of 10, tried again)"},
        RetryCase{"cause: STOPPED", 0, 0, 3, false, false, "was stopped by request"}));

}  // namespace
}  // namespace freshet::scheduler
