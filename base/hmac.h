// HMAC-SHA256 (RFC 2104), for signatures over messages to others. A pure function, any thread.
#pragma once

#include <string>
#include <string_view>

namespace freshet {

// 64 lowercase hex digits.
std::string hmac_sha256_hex(std::string_view key, std::string_view message);

}  // namespace freshet
