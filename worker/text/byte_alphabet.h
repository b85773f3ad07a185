// GPT-2's files write tokens, which are bytes, as text: each byte has a character of its own that can be printed and is
// no white space. Pure; any thread.
// Source of the alphabet: OpenAI's GPT-2 encoder.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace freshet::worker {

// The bytes in the alphabet's order, which is that of GPT-2's first 256 tokens: first those that stand for themselves.
const std::array<uint8_t, 256>& alphabet_bytes();

// In UTF-8.
std::string to_alphabet(std::string_view bytes);
// invalid_argument when the text has a character that no byte is written as.
Result<std::string> from_alphabet(std::string_view text);

}  // namespace freshet::worker
