#include "tests/sim/planted/planted.h"

#include <cstdlib>
#include <string>

bool planted(std::string_view name) {
  static const std::string awake = [] {
    const char* value = std::getenv("FRESHET_PLANTED");
    return std::string(value == nullptr ? "" : value);
  }();
  return name == awake;
}
