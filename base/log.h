// Log lines on standard error, one event a line: "2026-11-01T12:00:00.250Z INFO store: opened path=/x revision=12".
// Any thread. What a user must act on goes into an API answer or a record as well; a log line alone is for operators.
#pragma once

#include <string>
#include <string_view>

namespace freshet {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// Lines below this level are dropped. Default kInfo.
void set_log_level(LogLevel level);

void log(LogLevel level, std::string_view component, std::string_view message);

inline void log_debug(std::string_view component, std::string_view message) {
  log(LogLevel::kDebug, component, message);
}
inline void log_info(std::string_view component, std::string_view message) { log(LogLevel::kInfo, component, message); }
inline void log_warning(std::string_view component, std::string_view message) {
  log(LogLevel::kWarning, component, message);
}
inline void log_error(std::string_view component, std::string_view message) {
  log(LogLevel::kError, component, message);
}

}  // namespace freshet
