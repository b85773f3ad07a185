#include "base/time.h"

#include <cstdio>
#include <ctime>

namespace freshet {

std::string to_iso8601(Time time) {
  int64_t seconds = time.us / 1'000'000;
  int64_t micros = time.us % 1'000'000;
  if (micros < 0) {
    micros += 1'000'000;
    --seconds;
  }
  std::time_t t = static_cast<std::time_t>(seconds);
  std::tm parts{};
  gmtime_r(&t, &parts);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900, parts.tm_mon + 1,
                parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, static_cast<int>(micros / 1000));
  return text;
}

Time SystemClock::now() const {
  std::timespec ts{};
  clock_gettime(CLOCK_REALTIME, &ts);
  return Time{static_cast<int64_t>(ts.tv_sec) * 1'000'000 + ts.tv_nsec / 1000};
}

}  // namespace freshet
