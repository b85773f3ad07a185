// The whole program but main(): reads the command line, runs the command and says what its exit code is. One thread.
#pragma once

#include "cli/session.h"

namespace freshet::cli {

// Errors go to the environment's `err` as "freshet: message". The result is one of ExitCode.
int run_cli(int argc, const char* const* argv, Environment& environment);

}  // namespace freshet::cli
