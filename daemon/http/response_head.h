// The bytes of an answer's head and of chunks. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "daemon/http/request.h"

namespace freshet::http {

enum class BodyFraming { kLength, kChunked, kUntilClose };

// Status line, fields and the empty line. A line end in a handler's header is a programmer's mistake (CHECK).
std::string response_head(const Response& response, BodyFraming framing, bool keep_alive);

std::string chunk(std::string_view bytes);
constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace freshet::http
