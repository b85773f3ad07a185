// A cron schedule of five fields (minute, hour, day of month, month, day of week) in UTC, with calendar arithmetic of
// its own so that no library clock or time zone can enter a decision. An immutable value; any thread.
#pragma once

#include <bitset>
#include <string_view>

#include "base/status.h"
#include "base/time.h"

namespace freshet::scheduler {

class CronSchedule {
 public:
  // Fields hold '*', numbers, names (jan, mon), ranges, lists and steps ("*/15", "8-18/2", "5/10" = from 5 on); Sunday
  // is 0 or 7. As in every cron, when both days are restricted one of them must match. Also @hourly, @daily, @weekly,
  // @monthly and @yearly. invalid_argument names the field and what is wrong; a date that never comes is refused.
  static Result<CronSchedule> parse(std::string_view text);

  // The first due time strictly after `time`; due times are whole minutes. Time::never() past the year 9999.
  Time next_after(Time time) const;

 private:
  CronSchedule() = default;
  bool day_matches(int month, int day, int weekday) const;

  std::bitset<60> minutes_;
  std::bitset<24> hours_;
  std::bitset<32> days_;     // 1 to 31
  std::bitset<13> months_;   // 1 to 12
  std::bitset<7> weekdays_;  // 0: Sunday
  bool any_day_ = true;
  bool any_weekday_ = true;
};

}  // namespace freshet::scheduler
