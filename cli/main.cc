// freshet: the command line's entry point. Gives the program its terminal, clock and environment.
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "cli/app.h"

namespace {

size_t terminal_columns() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

std::string variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? "" : value;
}

// Waits on standard output, so that the end of whoever reads it ends the wait.
bool wait_for(freshet::Duration duration) {
  pollfd output{STDOUT_FILENO, 0, 0};
  return ::poll(&output, 1, static_cast<int>(duration.us / 1000)) <= 0;
}

}  // namespace

int main(int argc, char** argv) {
  freshet::SystemClock clock;
  freshet::SystemRandom random;
  freshet::cli::Environment environment{.out = std::cout,
                                        .err = std::cerr,
                                        .in = std::cin,
                                        .clock = clock,
                                        .random = random,
                                        .is_terminal = ::isatty(STDOUT_FILENO) == 1,
                                        .columns = terminal_columns(),
                                        .variable = variable,
                                        .pause = wait_for};
  return freshet::cli::run_cli(argc, argv, environment);
}
