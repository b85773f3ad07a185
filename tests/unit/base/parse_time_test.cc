#include "base/parse_time.h"

#include <gtest/gtest.h>

namespace freshet {
namespace {

constexpr Time kNow{1'793'534'400'250'999};

std::string read(const std::string& text) {
  auto time = parse_time(text, kNow);
  return time.is_ok() ? to_iso8601(*time) : "refused";
}

TEST(ParseTime, Iso8601InUtcUnlessAZoneIsGiven) {
  EXPECT_EQ(read("2026-11-01T12:00"), "2026-11-01T12:00:00.000Z");
  EXPECT_EQ(read("2026-11-01T12:00Z"), "2026-11-01T12:00:00.000Z");
  EXPECT_EQ(read("2026-11-01 12:00:30.5"), "2026-11-01T12:00:30.500Z");
  EXPECT_EQ(read("2026-11-01T12:00:30.250999Z"), "2026-11-01T12:00:30.250Z");
  EXPECT_EQ(read("2026-11-01T00:30+01:00"), "2026-10-31T23:30:00.000Z");
  EXPECT_EQ(read("2026-12-31T20:00:00-0530"), "2027-01-01T01:30:00.000Z");
  EXPECT_EQ(read("2026-11-01T12:00+02"), "2026-11-01T10:00:00.000Z");
  EXPECT_EQ(read("2026-11-01"), "2026-11-01T00:00:00.000Z");
  EXPECT_EQ(read("1969-12-31T23:59:59"), "1969-12-31T23:59:59.000Z");
  EXPECT_EQ(parse_time("1970-01-01T00:00:00.000001", kNow)->us, 1);
}

TEST(ParseTime, KnowsTheCalendar) {
  EXPECT_EQ(read("2024-02-29"), "2024-02-29T00:00:00.000Z");
  EXPECT_EQ(read("2000-02-29"), "2000-02-29T00:00:00.000Z");
  for (const char* text : {"2026-02-29", "1900-02-29", "2026-04-31", "2026-13-01", "2026-00-01", "2026-01-00"}) {
    EXPECT_EQ(read(text), "refused") << text;
  }
  // Every day of some years, there and back.
  for (int64_t day = 10'000; day < 25'000; ++day) {
    const std::string text = to_iso8601(Time{day * 86'400'000'000});
    ASSERT_EQ(read(text), text);
  }
}

TEST(ParseTime, CountsBackFromNow) {
  EXPECT_EQ(read("now"), "2026-11-01T12:00:00.250Z");
  EXPECT_EQ(read("90s ago"), "2026-11-01T11:58:30.250Z");
  EXPECT_EQ(read("30m ago"), "2026-11-01T11:30:00.250Z");
  EXPECT_EQ(read("2 h ago"), "2026-11-01T10:00:00.250Z");
  EXPECT_EQ(read("1d ago"), "2026-10-31T12:00:00.250Z");
  EXPECT_EQ(read("2w ago"), "2026-10-18T12:00:00.250Z");
}

TEST(ParseTime, RefusesTheRest) {
  for (const char* text : {"",
                           "yesterday",
                           "2h",
                           "ago",
                           "h ago",
                           "-2h ago",
                           "2h agO",
                           "2026-11-01T",
                           "2026-11-01T12",
                           "2026-11-01T24:00",
                           "2026-11-01T12:60",
                           "2026-11-01T12:00:60",
                           "2026-11-01T12:00:00.",
                           "2026-11-01T12:00+25:00",
                           "2026-11-01T12:00 UTC",
                           "2026-11-1",
                           "26-11-01",
                           "999999999w ago",
                           "2026-11-01T12:00Zx",
                           "12:00"}) {
    EXPECT_EQ(read(text), "refused") << text;
  }
  EXPECT_EQ(parse_time("noon", kNow).status().message(),
            "'noon' is not a time; write 2026-11-01T12:00 (UTC), 2026-11-01T12:00+01:00 or '2h ago'");
}

}  // namespace
}  // namespace freshet
