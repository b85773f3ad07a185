#include "cli/render/format.h"

#include <gtest/gtest.h>

#include <cmath>

namespace freshet::cli {
namespace {

constexpr int64_t kSecond = 1'000'000;

TEST(Format, Ages) {
  const Time now{1'000'000 * kSecond};
  auto ago = [&](int64_t seconds) { return age(now.us - seconds * kSecond, now); };
  EXPECT_EQ(age(0, now), "");
  EXPECT_EQ(ago(0), "0s");
  EXPECT_EQ(ago(-5), "0s");  // the daemon's clock is ahead
  EXPECT_EQ(ago(119), "119s");
  EXPECT_EQ(ago(120), "2m");
  EXPECT_EQ(ago(7199), "119m");
  EXPECT_EQ(ago(7200), "2h");
  EXPECT_EQ(ago(2 * 86400 - 1), "47h");
  EXPECT_EQ(ago(2 * 86400), "2d");
}

TEST(Format, Durations) {
  EXPECT_EQ(duration_between(0, 5), "");
  EXPECT_EQ(duration_between(5, 0), "");
  EXPECT_EQ(duration_between(kSecond, 2 * kSecond - 1), "999ms");
  EXPECT_EQ(duration_between(2 * kSecond, kSecond), "0ms");
  EXPECT_EQ(duration_text(Duration::millis(1000)), "1.0s");
  EXPECT_EQ(duration_text(Duration::millis(59'999)), "59.9s");
  EXPECT_EQ(duration_text(Duration::seconds(60)), "1m00s");
  EXPECT_EQ(duration_text(Duration::seconds(3599)), "59m59s");
  EXPECT_EQ(duration_text(Duration::seconds(3600 * 27 + 65)), "27h01m");
}

TEST(Format, Numbers) {
  EXPECT_EQ(number(0), "0");
  EXPECT_EQ(number(0.58123), "0.5812");
  EXPECT_EQ(number(1e-5), "1e-05");
  EXPECT_EQ(number(-12.345), "-12.35");
  EXPECT_EQ(number(999.5), "1,000");
  EXPECT_EQ(number(-45120.4), "-45,120");
  EXPECT_EQ(number(1e20), "1e+20");
  EXPECT_EQ(number(std::nan("")), "NaN");
  EXPECT_EQ(number(-INFINITY), "-inf");
  EXPECT_EQ(counted(0), "0");
  EXPECT_EQ(counted(999), "999");
  EXPECT_EQ(counted(1000), "1,000");
  EXPECT_EQ(counted(UINT64_MAX), "18,446,744,073,709,551,615");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text(8ull << 30), "8.0 GiB");
}

TEST(Format, TextOfOthersCannotMoveTheCursor) {
  EXPECT_EQ(safe_text("a\x1b[2Jb\r\nc\td"), "a?[2Jb? c d");
  EXPECT_EQ(safe_text("\xc2\x9b"
                      "31m"),
            "?31m");  // CSI as one character
  EXPECT_EQ(safe_text("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
  EXPECT_EQ(safe_text("\xff\xc3"), "??");
}

TEST(Format, TablesAlignWhatIsNotAscii) {
  Table table({"NAME", "EMPTY", "AGE"});
  table.add({"größe", "", "1s"});
  table.add({"x", "", {"2s", Style::kBad}});
  EXPECT_EQ(table.render({}), "NAME    AGE\ngröße   1s\nx       2s\n");
  EXPECT_EQ(table.render({.color = true, .now = {}}, 2), "  NAME    AGE\n  größe   1s\n  x       \033[31m2s\033[0m\n");
}

}  // namespace
}  // namespace freshet::cli
