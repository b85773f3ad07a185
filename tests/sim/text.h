// Small help with the texts that the simulator's clients send.
#pragma once

#include <string>

namespace freshet::sim {

// The text with the first `from` replaced by `to`; the same when it is not there.
inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

}  // namespace freshet::sim
