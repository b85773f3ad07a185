#include "base/time.h"

#include <gtest/gtest.h>

namespace freshet {
namespace {

TEST(Time, IsWrittenInUtcWithMilliseconds) {
  EXPECT_EQ(to_iso8601(Time{}), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(to_iso8601(Time{1'793'534'400'250'999}), "2026-11-01T12:00:00.250Z");
  EXPECT_EQ(to_iso8601(Time{951'782'400'000'000}), "2000-02-29T00:00:00.000Z");
  EXPECT_EQ(to_iso8601(Time{-1}), "1969-12-31T23:59:59.999Z");
  EXPECT_EQ(to_iso8601(Time{-1'000'000}), "1969-12-31T23:59:59.000Z");
}

TEST(Time, AddsAndComparesDurations) {
  Time start{5'000'000};
  EXPECT_EQ(start + Duration::millis(1500), Time{6'500'000});
  EXPECT_EQ(start - Duration::seconds(2), Time{3'000'000});
  EXPECT_EQ((start + Duration::micros(7)) - start, Duration::micros(7));
  EXPECT_LT(start, Time::never());
  EXPECT_EQ(Duration::seconds(1) - Duration::millis(1), Duration::micros(999'000));
  EXPECT_EQ(Duration::millis(250).to_seconds(), 0.25);
  EXPECT_FALSE(Time{}.is_set());
  EXPECT_TRUE(start.is_set());
}

TEST(SystemClock, TheMonotonicClockNeverGoesBack) {
  SystemClock clock;
  Time before = clock.monotonic();
  for (int i = 0; i < 1000; ++i) {
    Time now = clock.monotonic();
    ASSERT_GE(now, before);
    before = now;
  }
  EXPECT_GT(clock.now(), Time{1'700'000'000'000'000});  // microseconds since 1970
}

}  // namespace
}  // namespace freshet
