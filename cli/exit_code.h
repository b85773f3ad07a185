// What the program's exit code means; the same list is in `freshet --help` and docs/CLI.md.
#pragma once

#include "base/status.h"

namespace freshet::cli {

enum ExitCode : int {
  kExitOk = 0,
  kExitError = 1,
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitRefused = 4,      // a precondition, a gate or a permission
  kExitUnreachable = 5,  // no daemon answered
  kExitRunFailed = 6,    // submit --wait, runs --follow: the run ended badly
};

inline int exit_code_of(const Status& status) {
  switch (status.code()) {
    case Code::kOk:
      return kExitOk;
    case Code::kNotFound:
      return kExitNotFound;
    case Code::kAlreadyExists:
    case Code::kConflict:
    case Code::kUnauthenticated:
    case Code::kPermissionDenied:
      return kExitRefused;
    case Code::kUnavailable:
      return kExitUnreachable;
    default:
      return kExitError;
  }
}

}  // namespace freshet::cli
