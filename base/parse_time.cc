#include "base/parse_time.h"

#include <cstdint>
#include <optional>
#include <string>

namespace freshet {
namespace {

// Days from 1970-01-01 to a day of the Gregorian calendar. March is the first month of the year that is counted, so
// that the leap day is its last.
int64_t days_from_epoch(int64_t year, int64_t month, int64_t day) {
  const int64_t shifted = month <= 2 ? year - 1 : year;
  const int64_t months = month <= 2 ? month + 9 : month - 3;
  const int64_t day_of_year = (153 * months + 2) / 5 + day - 1;
  return 365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year - 719'468;
}

bool is_leap(int64_t year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

int64_t days_in(int64_t year, int64_t month) {
  if (month == 2) return is_leap(year) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

// Reads a text from the left; every reader says whether it found what it looks for.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool at_end() const { return text_.empty(); }
  bool take(char c) {
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  bool take(std::string_view word) {
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }
  // Between `least` and `most` digits.
  std::optional<int64_t> digits(size_t least, size_t most) {
    size_t count = 0;
    int64_t value = 0;
    while (count < most && count < text_.size() && text_[count] >= '0' && text_[count] <= '9') {
      value = value * 10 + (text_[count++] - '0');
    }
    if (count < least) return std::nullopt;
    last_count_ = count;
    text_.remove_prefix(count);
    return value;
  }
  size_t last_count() const { return last_count_; }

 private:
  std::string_view text_;
  size_t last_count_ = 0;
};

// What stands behind the decimal point of a second, in microseconds; digits beyond them are dropped.
std::optional<int64_t> fraction(Reader& reader) {
  auto value = reader.digits(1, 6);
  if (!value) return std::nullopt;
  for (size_t i = reader.last_count(); i < 6; ++i) *value *= 10;
  while (reader.digits(1, 1)) continue;
  return value;
}

// "Z", "+01:00", "-0530" or nothing, in seconds to take away.
std::optional<int64_t> zone(Reader& reader) {
  if (reader.at_end() || reader.take('Z')) return 0;
  const bool east = reader.take('+');
  if (!east && !reader.take('-')) return std::nullopt;
  auto hours = reader.digits(2, 2);
  if (!hours || *hours > 14) return std::nullopt;
  int64_t minutes = 0;
  if (!reader.at_end()) {
    reader.take(':');
    auto found = reader.digits(2, 2);
    if (!found || *found > 59) return std::nullopt;
    minutes = *found;
  }
  return (east ? 1 : -1) * (*hours * 3600 + minutes * 60);
}

std::optional<Time> parse_iso8601(std::string_view text) {
  Reader reader(text);
  auto year = reader.digits(4, 4);
  if (!year || !reader.take('-')) return std::nullopt;
  auto month = reader.digits(2, 2);
  if (!month || *month < 1 || *month > 12 || !reader.take('-')) return std::nullopt;
  auto day = reader.digits(2, 2);
  if (!day || *day < 1 || *day > days_in(*year, *month)) return std::nullopt;
  int64_t seconds = 0;
  int64_t micros = 0;
  if (reader.take('T') || reader.take(' ')) {
    auto hour = reader.digits(2, 2);
    if (!hour || *hour > 23 || !reader.take(':')) return std::nullopt;
    auto minute = reader.digits(2, 2);
    if (!minute || *minute > 59) return std::nullopt;
    seconds = *hour * 3600 + *minute * 60;
    if (reader.take(':')) {
      auto second = reader.digits(2, 2);
      if (!second || *second > 59) return std::nullopt;
      seconds += *second;
      if (reader.take('.')) {
        auto found = fraction(reader);
        if (!found) return std::nullopt;
        micros = *found;
      }
    }
  }
  auto offset = zone(reader);
  if (!offset || !reader.at_end()) return std::nullopt;
  const int64_t days = days_from_epoch(*year, *month, *day);
  return Time{(days * 86'400 + seconds - *offset) * 1'000'000 + micros};
}

std::optional<Time> parse_ago(std::string_view text, Time now) {
  if (text == "now") return now;
  Reader reader(text);
  auto count = reader.digits(1, 9);
  if (!count) return std::nullopt;
  reader.take(' ');
  int64_t unit = 0;
  if (reader.take('s')) unit = 1;
  if (unit == 0 && reader.take('m')) unit = 60;
  if (unit == 0 && reader.take('h')) unit = 3600;
  if (unit == 0 && reader.take('d')) unit = 86'400;
  if (unit == 0 && reader.take('w')) unit = 7 * 86'400;
  if (unit == 0 || !reader.take(" ago") || !reader.at_end()) return std::nullopt;
  // Past any calendar's beginning: no product of ours was there, and the multiplication below must not overflow.
  if (*count > 1'000'000'000 / unit * 100) return std::nullopt;
  return now - Duration::seconds(*count * unit);
}

}  // namespace

Result<Time> parse_time(std::string_view text, Time now) {
  if (auto time = parse_iso8601(text)) return *time;
  if (auto time = parse_ago(text, now)) return *time;
  return invalid_argument("'" + std::string(text.substr(0, 100)) +
                          "' is not a time; write 2026-11-01T12:00 (UTC), 2026-11-01T12:00+01:00 or '2h ago'");
}

}  // namespace freshet
