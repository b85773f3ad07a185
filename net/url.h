// Addresses: parsing "http://host:port/path", and percent coding of path segments and query values. Pure functions, any
// thread. Does not do relative references or user info.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace freshet::net {

struct Url {
  std::string host;  // without brackets for IPv6
  uint16_t port = 80;
  std::string target = "/";  // path and query, as it goes on the request line
  bool is_tls = false;

  // "host:port", for the Host header and messages.
  std::string authority() const;
};

// invalid_argument says what is wrong with the text. A fragment is refused, as is any scheme but http.
Result<Url> parse_url(std::string_view text);
// The same of any server: https is good too.
Result<Url> parse_web_url(std::string_view text);

// Every byte that is not unreserved (RFC 3986) becomes %XX: safe as one path segment or one query value.
std::string percent_encode(std::string_view text);

// Refuses a '%' without two hex digits. `plus_is_space` is for query strings of forms.
Result<std::string> percent_decode(std::string_view text, bool plus_is_space = false);

}  // namespace freshet::net
