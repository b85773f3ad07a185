#include "scheduler/cron.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <vector>

namespace freshet::scheduler {
namespace {

constexpr int64_t kMinute = 60'000'000;
constexpr int kYearMax = 9999;

struct Date {
  int64_t year = 1970;
  int month = 1;
  int day = 1;
  int weekday = 4;  // 0: Sunday
};

bool is_leap(int64_t year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

int days_in(int month, bool leap) {
  constexpr std::array<int, 13> kDays = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return kDays[static_cast<size_t>(month)] + (month == 2 && leap ? 1 : 0);
}

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

int64_t days_before_year(int64_t year) {  // since 1970-01-01
  auto leaps_before = [](int64_t y) { return floor_div(y - 1, 4) - floor_div(y - 1, 100) + floor_div(y - 1, 400); };
  return 365 * (year - 1970) + leaps_before(year) - leaps_before(1970);
}

Date date_of(int64_t days) {
  Date date;
  date.weekday = static_cast<int>(days + 4 - 7 * floor_div(days + 4, 7));
  date.year = 1970 + floor_div(days, days < 0 ? 365 : 366);  // never late, and early by few steps
  while (days_before_year(date.year + 1) <= days) ++date.year;
  int64_t rest = days - days_before_year(date.year);
  while (rest >= days_in(date.month, is_leap(date.year))) rest -= days_in(date.month++, is_leap(date.year));
  date.day = 1 + static_cast<int>(rest);
  return date;
}

void next_day(Date* date) {
  date->weekday = (date->weekday + 1) % 7;
  if (++date->day <= days_in(date->month, is_leap(date->year))) return;
  date->day = 1;
  if (++date->month <= 12) return;
  date->month = 1;
  ++date->year;
}

struct Field {
  const char* name;
  int min;
  int max;
  std::vector<std::string_view> names;  // of the values from min on
};

const std::array<Field, 5>& fields() {
  static const std::array<Field, 5> kFields = {
      Field{"minute", 0, 59, {}}, Field{"hour", 0, 23, {}}, Field{"day of month", 1, 31, {}},
      Field{"month", 1, 12, {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
      Field{"day of week", 0, 7, {"sun", "mon", "tue", "wed", "thu", "fri", "sat"}}};
  return kFields;
}

std::string quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t at = text.find(separator); at != std::string_view::npos; at = text.find(separator)) {
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + 1);
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  constexpr std::string_view kBlank = " \t";
  for (;;) {
    size_t begin = text.find_first_not_of(kBlank);
    if (begin == std::string_view::npos) return words;
    text.remove_prefix(begin);
    size_t end = std::min(text.find_first_of(kBlank), text.size());
    words.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

Status wrong(const Field& field, const std::string& what) {
  return invalid_argument("cron " + std::string(field.name) + ": " + what);
}

std::optional<int> number(std::string_view text) {
  int value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || text.front() == '-') return {};
  return value;
}

Result<int> value_of(const Field& field, std::string_view text) {
  std::string word = lower(text);
  for (size_t i = 0; i < field.names.size(); ++i) {
    if (word == field.names[i]) return field.min + static_cast<int>(i);
  }
  auto value = number(text);
  if (!value) {
    std::string or_name = field.names.empty() ? "" : " or a name like " + quoted(field.names[1]);
    return wrong(field, quoted(text) + " is not a number from " + std::to_string(field.min) + " to " +
                            std::to_string(field.max) + or_name);
  }
  if (*value < field.min || *value > field.max) {
    return wrong(field,
                 std::string(text) + " is outside " + std::to_string(field.min) + " to " + std::to_string(field.max));
  }
  return *value;
}

// One element of a field's list: "*", "a", "a-b", each with "/step".
Status add_element(const Field& field, std::string_view element, std::vector<bool>* values) {
  auto parts = split(element, '/');
  if (element.empty() || parts.size() > 2 || parts[0].empty()) {
    return wrong(field, quoted(element) + " is not a value, a range or a step");
  }
  int step = 1;
  if (parts.size() == 2) {
    auto given = number(parts[1]);
    if (!given || *given < 1 || *given > field.max) {
      return wrong(field, "the step " + quoted(parts[1]) + " is not a number from 1 to " + std::to_string(field.max));
    }
    step = *given;
  }
  int first = field.min;
  int last = field.max;
  if (parts[0] != "*") {
    auto ends = split(parts[0], '-');
    if (ends.size() > 2) return wrong(field, quoted(element) + " is not a value, a range or a step");
    ASSIGN_OR_RETURN(first, value_of(field, ends[0]));
    if (ends.size() == 2) {
      ASSIGN_OR_RETURN(last, value_of(field, ends[1]));
      if (last < first) {
        return wrong(field, "the range " + quoted(parts[0]) + " ends before it begins");
      }
    } else if (parts.size() == 1) {
      last = first;
    }
  }
  for (int value = first; value <= last; value += step) (*values)[static_cast<size_t>(value)] = true;
  return Status::ok();
}

Result<std::vector<bool>> parse_field(const Field& field, std::string_view text) {
  std::vector<bool> values(static_cast<size_t>(field.max) + 1);
  for (auto element : split(text, ',')) RETURN_IF_ERROR(add_element(field, element, &values));
  return values;
}

template <size_t kSize>
std::bitset<kSize> to_bits(const std::vector<bool>& values) {
  std::bitset<kSize> bits;
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i]) bits.set(i % kSize);
  }
  return bits;
}

Result<std::string_view> expand(std::string_view text) {
  if (!text.starts_with('@')) return text;
  std::string word = lower(text);
  if (word == "@hourly") return std::string_view("0 * * * *");
  if (word == "@daily" || word == "@midnight") return std::string_view("0 0 * * *");
  if (word == "@weekly") return std::string_view("0 0 * * 0");
  if (word == "@monthly") return std::string_view("0 0 1 * *");
  if (word == "@yearly" || word == "@annually") return std::string_view("0 0 1 1 *");
  return invalid_argument("cron " + quoted(text) +
                          " is unknown; known are @hourly, @daily, @weekly, @monthly, @yearly");
}

}  // namespace

Result<CronSchedule> CronSchedule::parse(std::string_view text) {
  auto words = words_of(text);
  if (words.size() == 1 && words[0].starts_with('@')) {
    ASSIGN_OR_RETURN(auto expanded, expand(words[0]));
    words = words_of(expanded);
  }
  if (words.size() != fields().size()) {
    return invalid_argument("cron " + quoted(text) + " has " + std::to_string(words.size()) +
                            " fields; five are needed: minute, hour, day of month, month, day of week");
  }
  std::array<std::vector<bool>, 5> values;
  for (size_t i = 0; i < words.size(); ++i) {
    ASSIGN_OR_RETURN(values[i], parse_field(fields()[i], words[i]));
  }
  CronSchedule schedule;
  schedule.minutes_ = to_bits<60>(values[0]);
  schedule.hours_ = to_bits<24>(values[1]);
  schedule.days_ = to_bits<32>(values[2]);
  schedule.months_ = to_bits<13>(values[3]);
  schedule.weekdays_ = to_bits<7>(values[4]);  // 7 falls on 0, Sunday
  schedule.any_day_ = words[2].starts_with('*');
  schedule.any_weekday_ = words[4].starts_with('*');
  for (int month = 1; month <= 12; ++month) {
    for (int day = 1; day <= days_in(month, true); ++day) {
      if (!schedule.any_weekday_ || schedule.day_matches(month, day, 0)) return schedule;
    }
  }
  return invalid_argument("cron " + quoted(text) + " names a date that never comes: none of its months has such a day");
}

bool CronSchedule::day_matches(int month, int day, int weekday) const {
  if (!months_[static_cast<size_t>(month)]) return false;
  bool day_ok = days_[static_cast<size_t>(day)];
  bool weekday_ok = weekdays_[static_cast<size_t>(weekday)];
  return any_day_ || any_weekday_ ? day_ok && weekday_ok : day_ok || weekday_ok;
}

Time CronSchedule::next_after(Time time) const {
  int64_t minutes = floor_div(time.us, kMinute) + 1;
  int64_t days = floor_div(minutes, 24 * 60);
  int64_t minute_of_day = minutes - days * 24 * 60;
  Date date = date_of(days);
  for (; date.year <= kYearMax; next_day(&date), ++days, minute_of_day = 0) {
    if (!day_matches(date.month, date.day, date.weekday)) continue;
    for (; minute_of_day < 24 * 60; ++minute_of_day) {
      if (hours_[static_cast<size_t>(minute_of_day / 60)] && minutes_[static_cast<size_t>(minute_of_day % 60)]) {
        return Time{(days * 24 * 60 + minute_of_day) * kMinute};
      }
    }
  }
  return Time::never();
}

}  // namespace freshet::scheduler
