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

namespace {

Time read_clock(clockid_t id) {
  std::timespec ts{};
  clock_gettime(id, &ts);
  return Time{static_cast<int64_t>(ts.tv_sec) * 1'000'000 + ts.tv_nsec / 1000};
}

}  // namespace

Time SystemClock::now() const { return read_clock(CLOCK_REALTIME); }
Time SystemClock::monotonic() const { return read_clock(CLOCK_MONOTONIC); }

}  // namespace freshet
