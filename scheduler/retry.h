// Whether failed work is tried again, and whose budget its failure spends. Pure; any thread. It relaunches nothing.
#pragma once

#include <cstdint>
#include <string>

#include "proto/attempt.pb.h"

namespace freshet::scheduler {

// Infrastructure may fail this often before a step is given up all the same.
inline constexpr uint32_t kInfrastructureFailuresMax = 10;

struct RetryDecision {
  bool retry = false;
  bool users_fault = false;  // count it in `failures`, else in `infrastructure_failures` (a stop counts in neither)
  std::string reason;        // what happened and why it is or is not tried again, for a person
};

// `exit` is not a success. The failures are those counted before this one; max_attempts 0 is the default of 3. The
// user's: a non-zero exit, a crash, out of memory, a timeout. Infrastructure's: a program that could not be started, a
// lost supervisor, an unknown cause, and SIGKILL or SIGTERM from outside (also as exit code 137 or 143, as mpirun says
// it). A stop by request is nobody's and is not tried again.
RetryDecision decide_retry(const v1::ExitRecord& exit, uint32_t user_failures, uint32_t infrastructure_failures,
                           uint32_t max_attempts);

}  // namespace freshet::scheduler
