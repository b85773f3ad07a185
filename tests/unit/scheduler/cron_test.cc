#include "scheduler/cron.h"

#include <gtest/gtest.h>

#include <ctime>

#include "base/random.h"

namespace freshet::scheduler {
namespace {

// "2026-11-01 12:00" or with ":ss", UTC.
Time at(const std::string& text) {
  std::tm parts{};
  EXPECT_NE(strptime(text.c_str(), text.size() > 16 ? "%Y-%m-%d %H:%M:%S" : "%Y-%m-%d %H:%M", &parts), nullptr) << text;
  return Time{static_cast<int64_t>(timegm(&parts)) * 1'000'000};
}

std::string next(const std::string& schedule, Time after) {
  auto parsed = CronSchedule::parse(schedule);
  if (!parsed.is_ok()) return parsed.status().message();
  Time due = parsed->next_after(after);
  return due == Time::never() ? "never" : to_iso8601(due).substr(0, 16);
}

struct NextCase {
  const char* schedule;
  const char* after;
  const char* expected;
};

class CronNext : public testing::TestWithParam<NextCase> {};

TEST_P(CronNext, IsTheFirstDueTimeStrictlyAfter) {
  EXPECT_EQ(next(GetParam().schedule, at(GetParam().after)), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(Table, CronNext,
                         testing::Values(NextCase{"* * * * *", "2026-11-21 08:15", "2026-11-21T08:16"},
                                         NextCase{"* * * * *", "2026-11-21 08:15:59", "2026-11-21T08:16"},
                                         NextCase{"*/15 * * * *", "2026-11-21 08:15", "2026-11-21T08:30"},
                                         NextCase{"*/15 * * * *", "2026-12-31 23:45", "2027-01-01T00:00"},
                                         NextCase{"5/20 * * * *", "2026-11-21 08:05", "2026-11-21T08:25"},
                                         NextCase{"5/20 * * * *", "2026-11-21 08:46", "2026-11-21T09:05"},
                                         NextCase{"10,20,50-52 * * * *", "2026-11-21 08:50", "2026-11-21T08:51"},
                                         NextCase{"0 8-18/5 * * *", "2026-11-21 08:00", "2026-11-21T13:00"},
                                         NextCase{"0 8-18/5 * * *", "2026-11-21 18:00", "2026-11-22T08:00"},
                                         NextCase{"30 2 * * *", "2026-11-30 02:30", "2026-12-01T02:30"},
                                         // month ends
                                         NextCase{"0 0 31 * *", "2026-01-31 00:00", "2026-03-31T00:00"},
                                         NextCase{"0 0 31 * *", "2026-03-31 00:00", "2026-05-31T00:00"},
                                         NextCase{"0 0 30 * *", "2026-01-30 00:00", "2026-03-30T00:00"},
                                         NextCase{"59 23 * * *", "2026-12-31 23:59", "2027-01-01T23:59"},
                                         // leap years
                                         NextCase{"0 0 29 2 *", "2026-01-01 00:00", "2028-02-29T00:00"},
                                         NextCase{"0 0 29 2 *", "2028-02-29 00:00", "2032-02-29T00:00"},
                                         NextCase{"0 0 29 2 *", "2096-02-29 00:00",
                                                  "2104-02-29T00:00"},  // 2100 is none
                                         NextCase{"0 0 29 2 *", "1996-03-01 00:00", "2000-02-29T00:00"},  // 2000 is one
                                         NextCase{"0 0 * * *", "2028-02-28 00:00", "2028-02-29T00:00"},
                                         NextCase{"0 0 * * *", "2027-02-28 00:00", "2027-03-01T00:00"},
                                         // days of the week; 2026-11-21 is a Saturday
                                         NextCase{"0 0 * * 0", "2026-11-21 00:00", "2026-11-22T00:00"},
                                         NextCase{"0 0 * * 7", "2026-11-21 00:00", "2026-11-22T00:00"},
                                         NextCase{"0 0 * * mon", "2026-11-21 00:00", "2026-11-23T00:00"},
                                         NextCase{"0 9 * * Mon-Fri", "2026-11-20 09:00", "2026-11-23T09:00"},
                                         NextCase{"0 9 * * 5-7", "2026-11-22 09:00", "2026-11-27T09:00"},
                                         NextCase{"0 0 * feb,AUG *", "2026-11-21 00:00", "2027-02-01T00:00"},
                                         // day of month and day of week both restricted: either
                                         NextCase{"0 0 13 * fri", "2026-11-21 00:00", "2026-11-27T00:00"},
                                         NextCase{"0 0 13 * fri", "2026-12-11 00:00", "2026-12-13T00:00"},
                                         NextCase{"0 0 30 2 mon", "2026-11-21 00:00", "2027-02-01T00:00"},
                                         // one of them starts with '*': both
                                         NextCase{"0 0 */2 * mon", "2026-11-21 00:00", "2026-11-23T00:00"},
                                         NextCase{"0 0 */2 * mon", "2026-11-23 00:00", "2026-12-07T00:00"},
                                         // across years
                                         NextCase{"0 0 1 1 *", "2026-01-01 00:00", "2027-01-01T00:00"},
                                         NextCase{"0 12 1 jan mon", "2026-02-01 00:00", "2027-01-01T12:00"},
                                         // shorthands
                                         NextCase{"@hourly", "2026-11-21 08:15", "2026-11-21T09:00"},
                                         NextCase{"@daily", "2026-11-21 08:15", "2026-11-22T00:00"},
                                         NextCase{"@weekly", "2026-11-21 08:15", "2026-11-22T00:00"},
                                         NextCase{"@monthly", "2026-11-21 08:15", "2026-12-01T00:00"},
                                         NextCase{" @Yearly ", "2026-11-21 08:15", "2027-01-01T00:00"},
                                         NextCase{"  0\t0  * * *  ", "2026-11-21 08:15", "2026-11-22T00:00"},
                                         // before 1970 and at the far end
                                         NextCase{"0 0 * * thu", "1969-12-31 12:00", "1970-01-01T00:00"},
                                         NextCase{"0 0 29 2 *", "1965-01-01 00:00", "1968-02-29T00:00"},
                                         NextCase{"0 0 * * *", "9999-12-31 00:00", "never"}));

struct BadCase {
  const char* schedule;
  const char* message;
};

class CronBad : public testing::TestWithParam<BadCase> {};

TEST_P(CronBad, IsRefusedWithWhatIsWrong) {
  auto parsed = CronSchedule::parse(GetParam().schedule);
  ASSERT_FALSE(parsed.is_ok());
  EXPECT_EQ(parsed.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(parsed.status().message(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Table, CronBad,
    testing::Values(
        BadCase{"", "cron \"\" has 0 fields; five are needed: minute, hour, day of month, month, day of week"},
        BadCase{"* * * *",
                "cron \"* * * *\" has 4 fields; five are needed: minute, hour, day of month, month, day of week"},
        BadCase{"0 0 * * * *",
                "cron \"0 0 * * * *\" has 6 fields; five are needed: minute, hour, day of month, month, day of week"},
        BadCase{"60 * * * *", "cron minute: 60 is outside 0 to 59"},
        BadCase{"* 24 * * *", "cron hour: 24 is outside 0 to 23"},
        BadCase{"* * 0 * *", "cron day of month: 0 is outside 1 to 31"},
        BadCase{"* * * 13 *", "cron month: 13 is outside 1 to 12"},
        BadCase{"* * * * 8", "cron day of week: 8 is outside 0 to 7"},
        BadCase{"x * * * *", "cron minute: \"x\" is not a number from 0 to 59"},
        BadCase{"-5 * * * *", "cron minute: \"\" is not a number from 0 to 59"},
        BadCase{"1.5 * * * *", "cron minute: \"1.5\" is not a number from 0 to 59"},
        BadCase{"* * * sept *", "cron month: \"sept\" is not a number from 1 to 12 or a name like \"feb\""},
        BadCase{"* * * * montag", "cron day of week: \"montag\" is not a number from 0 to 7 or a name like \"mon\""},
        BadCase{"1,,2 * * * *", "cron minute: \"\" is not a value, a range or a step"},
        BadCase{"1-2-3 * * * *", "cron minute: \"1-2-3\" is not a value, a range or a step"},
        BadCase{"/5 * * * *", "cron minute: \"/5\" is not a value, a range or a step"},
        BadCase{"*/0 * * * *", "cron minute: the step \"0\" is not a number from 1 to 59"},
        BadCase{"*/60 * * * *", "cron minute: the step \"60\" is not a number from 1 to 59"},
        BadCase{"*/x * * * *", "cron minute: the step \"x\" is not a number from 1 to 59"},
        BadCase{"30-10 * * * *", "cron minute: the range \"30-10\" ends before it begins"},
        BadCase{"0 0 30 2 *", "cron \"0 0 30 2 *\" names a date that never comes: none of its months has such a day"},
        BadCase{"0 0 31 4,6,9,11 *",
                "cron \"0 0 31 4,6,9,11 *\" names a date that never comes: none of its months has such a day"},
        BadCase{"@fortnightly",
                "cron \"@fortnightly\" is unknown; known are @hourly, @daily, @weekly, @monthly, @yearly"}));

// The calendar against the C library's, on seeded days of four centuries.
TEST(Cron, AgreesWithTheCLibrarysCalendar) {
  constexpr uint64_t kSeed = 4711;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  SeededRandom random(kSeed);
  for (int i = 0; i < 5000; ++i) {
    auto day = static_cast<std::time_t>(random.next() % (400 * 365)) - 100 * 365;
    std::time_t seconds = day * 86400;
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    std::string schedule = "0 0 " + std::to_string(parts.tm_mday) + " " + std::to_string(parts.tm_mon + 1) + " *";
    auto parsed = CronSchedule::parse(schedule);
    ASSERT_TRUE(parsed.is_ok()) << schedule;
    Time due{static_cast<int64_t>(seconds) * 1'000'000};
    ASSERT_EQ(parsed->next_after(due - Duration::micros(1)), due) << schedule << " " << to_iso8601(due);
    auto weekday = CronSchedule::parse("0 0 * * " + std::to_string(parts.tm_wday));
    ASSERT_EQ(weekday->next_after(due - Duration::micros(1)), due) << to_iso8601(due);
  }
}

}  // namespace
}  // namespace freshet::scheduler
