// Numbers from text, strictly: the whole of it, and nothing else. Pure; any thread.
#pragma once

#include <charconv>
#include <string_view>

namespace freshet {

// Decimal, without sign or spaces for an unsigned type. False when the text is anything else or does not fit.
template <class Number>
bool parse_number(std::string_view text, Number* number) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace freshet
