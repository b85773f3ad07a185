// JSON of our messages: the proto JSON mapping with the field names of the schema (snake_case), enums by name and
// 64-bit integers as strings, as the API speaks it; and the canonical form that digests are made over. Any thread.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

#include "base/status.h"

namespace freshet {

// Fields with their default value are left out.
std::string to_json(const google::protobuf::Message& message);
std::string to_json_pretty(const google::protobuf::Message& message);

// Replaces *message. invalid_argument for what is not JSON, an unknown field, a duplicate key, a wrong type or nesting
// deeper than 64; the message says which and where.
Status from_json(std::string_view text, google::protobuf::Message* message);

// One form for one content, hashed for ever: keys sorted by bytes, no white space, unset and default fields left out
// (a set `optional` field is kept), integers as JSON numbers, doubles as the shortest text that reads back the same
// ("NaN", "Infinity" and "-Infinity" as strings), enums by name, bytes in base64, non-ASCII text as it is.
std::string to_canonical_json(const google::protobuf::Message& message);

}  // namespace freshet
