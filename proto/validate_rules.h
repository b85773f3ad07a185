// Private to proto/validate*.cc: the list that mistakes are gathered in, and the rules that several documents share.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/validate.h"

namespace freshet {

inline constexpr uint32_t kRanksMax = 4096;

inline std::string number_text(double value) {
  char text[40];
  auto end = std::to_chars(text, text + sizeof text, value);
  return {text, end.ptr};
}

class Mistakes {
 public:
  void add(std::string path, std::string message) { list_.push_back({std::move(path), std::move(message)}); }
  std::vector<Mistake> take() { return std::move(list_); }

  // Adds the mistake when `holds` is false.
  bool require(bool holds, const std::string& path, const std::string& message) {
    if (!holds) add(path, message);
    return holds;
  }

  bool name(const std::string& text, const std::string& path) {
    return require(
        is_name(text), path,
        (text.empty() ? "is missing; give it a name" : "'" + text + "' is no name; use one") +
            " of lower-case letters, digits and '-', at most 63, that begins and ends with a letter or digit");
  }

  void range(uint64_t value, uint64_t low, uint64_t high, const std::string& path) {
    require(value >= low && value <= high, path,
            std::to_string(value) + " is out of range; use " + std::to_string(low) + " to " + std::to_string(high));
  }

  // low <= value <= high
  void range(double value, double low, double high, const std::string& path) {
    require(value >= low && value <= high, path,
            number_text(value) + " is out of range; use " + number_text(low) + " to " + number_text(high));
  }

  void not_negative(double value, const std::string& path) {
    require(value >= 0 && std::isfinite(value), path, number_text(value) + " is out of range; use 0 or more");
  }

  void positive(double value, const std::string& path) {
    require(value > 0 && std::isfinite(value), path, number_text(value) + " is out of range; use more than 0");
  }

 private:
  std::vector<Mistake> list_;
};

inline std::string at(const std::string& path, int index) { return path + "[" + std::to_string(index) + "]"; }

// The names joined for a message: "a, b, c"; "none" when there are none.
template <class Names>
std::string listed(const Names& names) {
  std::string text;
  for (const auto& name : names) {
    if (!text.empty()) text += ", ";
    text += name;
  }
  return text.empty() ? "none" : text;
}

// A relative path that stays below where it starts.
bool is_path_below(std::string_view path);

}  // namespace freshet
