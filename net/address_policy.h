// AddressPolicy: which addresses a program may connect to when a document names them: public ones, and those that its
// own configuration allows. It judges the address that a name was resolved to, so a name cannot lead around it. An
// immutable value; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace freshet::net {

class AddressPolicy {
 public:
  // `allowed`: "127.0.0.0/8", "fd00::/8" or one address. invalid_argument names the text that is none of these.
  static Result<AddressPolicy> parse(const std::vector<std::string>& allowed);

  // ok, or permission_denied with what the address is: loopback, private, link-local ...
  Status check(const std::string& address) const;

  struct Range {
    std::array<uint8_t, 16> bytes{};  // an IPv4 address as the IPv6 address that it is mapped to
    unsigned bits = 0;

    bool holds(const std::array<uint8_t, 16>& address) const;
  };

 private:
  std::vector<Range> allowed_;
};

}  // namespace freshet::net
