// Bytes that a process printed, made fit for a message: protobuf and JSON take only UTF-8. Pure, any thread.
#pragma once

#include <string>
#include <string_view>

namespace freshet::agent {

// The text with every byte that is not part of well-formed UTF-8 replaced by '?'.
std::string valid_utf8(std::string_view text);

}  // namespace freshet::agent
