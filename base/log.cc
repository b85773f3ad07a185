#include "base/log.h"

#include <unistd.h>

#include <atomic>

#include "base/time.h"

namespace freshet {
namespace {

std::atomic<LogLevel> minimum_level{LogLevel::kInfo};

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "DEBUG";
    case LogLevel::kInfo:
      return "INFO";
    case LogLevel::kWarning:
      return "WARNING";
    case LogLevel::kError:
      return "ERROR";
  }
  return "ERROR";
}

}  // namespace

void set_log_level(LogLevel level) { minimum_level = level; }

void log(LogLevel level, std::string_view component, std::string_view message) {
  if (level < minimum_level.load(std::memory_order_relaxed)) return;
  std::string line = to_iso8601(SystemClock().now());
  line += ' ';
  line += level_name(level);
  line += ' ';
  line += component;
  line += ": ";
  for (char c : message) line += (c == '\n') ? ' ' : c;
  line += '\n';
  // One write, so that lines of several threads and processes do not mix. A log that cannot be written is not an
  // error of whoever logs.
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace freshet
