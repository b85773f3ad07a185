#include "scheduler/text.h"

#include <charconv>
#include <cmath>

namespace freshet::scheduler {
namespace {

// Enough digits to tell any two doubles apart.
constexpr int kDigitsMax = 17;
constexpr int kDigits = 4;

std::string with_digits(double value, int digits) {
  if (std::isnan(value)) return "nan";
  char text[64];
  auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::general, digits);
  return std::string(text, end.ptr);
}

}  // namespace

std::string exact(double value) {
  if (std::isnan(value)) return "nan";
  char text[64];
  auto end = std::to_chars(text, text + sizeof text, value);
  return std::string(text, end.ptr);
}

std::string rounded(double value) { return with_digits(value, kDigits); }

std::string rounded_against(double value, double other) {
  int digits = kDigits;
  std::string text = with_digits(value, digits);
  while (value != other && digits < kDigitsMax && text == with_digits(other, digits)) {
    text = with_digits(value, ++digits);
  }
  return text;
}

std::string counted(unsigned long long count, std::string_view noun) {
  std::string text = std::to_string(count) + " " + std::string(noun);
  if (count == 1) return text;
  if (noun.ends_with('y')) {
    text.pop_back();
    return text + "ies";
  }
  return text + "s";
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += separator;
    text += parts[i];
  }
  return text;
}

}  // namespace freshet::scheduler
