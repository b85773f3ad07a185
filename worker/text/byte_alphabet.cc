#include "worker/text/byte_alphabet.h"

#include <unordered_map>

namespace freshet::worker {
namespace {

constexpr uint32_t kFirstStandIn = 256;  // the character of the first byte that does not stand for itself

bool stands_for_itself(uint32_t byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

// All characters of the alphabet have one or two bytes in UTF-8.
std::string utf8(uint32_t character) {
  if (character < 0x80) return {static_cast<char>(character)};
  return {static_cast<char>(0xc0 | (character >> 6)), static_cast<char>(0x80 | (character & 0x3f))};
}

struct Alphabet {
  std::array<uint8_t, 256> bytes{};
  std::array<std::string, 256> character;  // by byte
  std::unordered_map<std::string, uint8_t> byte;

  Alphabet() {
    size_t count = 0;
    for (uint32_t i = 0; i < 256; ++i) {
      if (!stands_for_itself(i)) continue;
      bytes[count++] = static_cast<uint8_t>(i);
      character[i] = utf8(i);
    }
    uint32_t stand_in = kFirstStandIn;
    for (uint32_t i = 0; i < 256; ++i) {
      if (stands_for_itself(i)) continue;
      bytes[count++] = static_cast<uint8_t>(i);
      character[i] = utf8(stand_in++);
    }
    for (uint32_t i = 0; i < 256; ++i) byte[character[i]] = static_cast<uint8_t>(i);
  }
};

const Alphabet& alphabet() {
  static const Alphabet kAlphabet;
  return kAlphabet;
}

}  // namespace

const std::array<uint8_t, 256>& alphabet_bytes() { return alphabet().bytes; }

std::string to_alphabet(std::string_view bytes) {
  std::string text;
  for (char c : bytes) text += alphabet().character[static_cast<uint8_t>(c)];
  return text;
}

Result<std::string> from_alphabet(std::string_view text) {
  std::string bytes;
  for (size_t at = 0; at < text.size();) {
    const size_t length = static_cast<uint8_t>(text[at]) < 0x80 ? 1 : 2;
    auto found = alphabet().byte.find(std::string(text.substr(at, length)));
    if (found == alphabet().byte.end()) {
      return invalid_argument("'" + std::string(text) + "' has a character that stands for no byte");
    }
    bytes += static_cast<char>(found->second);
    at += length;
  }
  return bytes;
}

}  // namespace freshet::worker
