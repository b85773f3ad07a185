// The simulator's clock: time stands still until an event moves it. The wall may jump either way; the monotonic clock
// only goes on. One thread.
#pragma once

#include "base/time.h"

namespace freshet::sim {

class SimClock final : public Clock {
 public:
  Time now() const override { return {kEpoch.us + elapsed_.us + offset_.us}; }
  Time monotonic() const override { return {elapsed_.us}; }

  void advance_to(Time monotonic) {
    if (monotonic.us > elapsed_.us) elapsed_ = {monotonic.us};
  }
  void jump(Duration by) { offset_ = offset_ + by; }

 private:
  static constexpr Time kEpoch{1'767'225'600'000'000};  // 2026-01-01
  Duration elapsed_;
  Duration offset_;
};

}  // namespace freshet::sim
