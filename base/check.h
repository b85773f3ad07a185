// CHECK: an assertion that is on in every build. For a programmer's mistake or a broken invariant only, never for
// input, network, disk or what another process does (those are a Status). Ends the process with the place and text.
#pragma once

#include <string>

namespace freshet {

[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& detail);

}  // namespace freshet

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) [[unlikely]]                                            \
      ::freshet::check_failed(__FILE__, __LINE__, #condition, std::string()); \
  } while (false)

#define CHECK_MSG(condition, detail)                                     \
  do {                                                                   \
    if (!(condition)) [[unlikely]]                                       \
      ::freshet::check_failed(__FILE__, __LINE__, #condition, (detail)); \
  } while (false)
