// Time and Duration in whole microseconds, and Clock, the only way anything in Freshet learns the time. Plain values
// without <chrono>, so that the scheduler and the simulator can use them; the system clock is behind `SystemClock`.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace freshet {

struct Duration {
  int64_t us = 0;

  static constexpr Duration micros(int64_t n) { return {n}; }
  static constexpr Duration millis(int64_t n) { return {n * 1000}; }
  static constexpr Duration seconds(int64_t n) { return {n * 1'000'000}; }

  constexpr double to_seconds() const { return static_cast<double>(us) / 1e6; }
  constexpr auto operator<=>(const Duration&) const = default;
  constexpr Duration operator+(Duration other) const { return {us + other.us}; }
  constexpr Duration operator-(Duration other) const { return {us - other.us}; }
};

// Microseconds since 1970-01-01T00:00:00Z. Zero means "never set".
struct Time {
  int64_t us = 0;

  static constexpr Time never() { return {INT64_MAX}; }
  constexpr bool is_set() const { return us != 0; }
  constexpr auto operator<=>(const Time&) const = default;
  constexpr Time operator+(Duration d) const { return {us + d.us}; }
  constexpr Time operator-(Duration d) const { return {us - d.us}; }
  constexpr Duration operator-(Time other) const { return {us - other.us}; }
};

// "2026-11-01T12:00:00.250Z" (UTC, milliseconds).
std::string to_iso8601(Time time);

class Clock {
 public:
  virtual ~Clock() = default;
  // Wall time. May jump; anything stored compares through the store's commit time, never through two calls here.
  virtual Time now() const = 0;
  // Time since some fixed point, never backwards. For durations and deadlines: leases, debounce, timeouts.
  virtual Time monotonic() const = 0;
};

// The machine's clocks. Any thread.
class SystemClock final : public Clock {
 public:
  Time now() const override;
  Time monotonic() const override;
};

}  // namespace freshet
