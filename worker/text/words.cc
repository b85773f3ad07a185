#include "worker/text/words.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace freshet::worker {
namespace {

enum class Kind : uint8_t { kLetter, kNumber, kSpace, kSign };

Kind kind_of(UChar32 character) {
  if (character < 0) return Kind::kSign;
  if (u_isUWhiteSpace(character)) return Kind::kSpace;
  const uint32_t category = U_GET_GC_MASK(character);
  if (category & U_GC_L_MASK) return Kind::kLetter;
  if (category & U_GC_N_MASK) return Kind::kNumber;
  return Kind::kSign;
}

struct Character {
  Kind kind;
  size_t end;
};

// Nearly all text is ASCII, which needs no look into Unicode's tables.
Character character_at(std::string_view text, size_t at) {
  static const std::array<Kind, 128> kAscii = [] {
    std::array<Kind, 128> kinds{};
    for (size_t i = 0; i < kinds.size(); ++i) kinds[i] = kind_of(static_cast<UChar32>(i));
    return kinds;
  }();
  const auto byte = static_cast<uint8_t>(text[at]);
  if (byte < 0x80) return {kAscii[byte], at + 1};
  // Cut off from the rest, so that lengths fit ICU's 32 bits.
  const std::string_view rest = text.substr(at, U8_MAX_LENGTH);
  int32_t length = 0;
  UChar32 character = 0;
  U8_NEXT(rest.data(), length, static_cast<int32_t>(rest.size()), character);
  return {kind_of(character), at + static_cast<size_t>(length)};
}

size_t end_of_run(std::string_view text, size_t at, Kind kind) {
  while (at < text.size()) {
    Character next = character_at(text, at);
    if (next.kind != kind) break;
    at = next.end;
  }
  return at;
}

// The length of 's, 't, 're, 've, 'm, 'll or 'd at the begin of `text`; else 0.
size_t contraction(std::string_view text) {
  static constexpr std::array<std::string_view, 7> kContractions = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  for (std::string_view each : kContractions) {
    if (text.starts_with(each)) return each.size();
  }
  return 0;
}

}  // namespace

size_t word_end(std::string_view text, size_t begin) {
  if (size_t length = contraction(text.substr(begin)); length > 0) return begin + length;
  const Character first = character_at(text, begin);
  if (first.kind != Kind::kSpace) return end_of_run(text, first.end, first.kind);
  if (text[begin] == ' ' && first.end < text.size()) {
    if (Character second = character_at(text, first.end); second.kind != Kind::kSpace) {
      return end_of_run(text, second.end, second.kind);
    }
  }
  // White space leaves its last character to the word that follows, when that leaves something.
  size_t end = first.end, last = begin;
  while (end < text.size()) {
    Character next = character_at(text, end);
    if (next.kind != Kind::kSpace) return last == begin ? end : last;
    last = end;
    end = next.end;
  }
  return end;
}

size_t last_cut(std::string_view text) {
  bool is_space_after = false;
  for (size_t at = text.size(); at > 0;) {
    const size_t tail = at - std::min<size_t>(at, U8_MAX_LENGTH);
    const std::string_view around = text.substr(tail, at - tail);
    auto length = static_cast<int32_t>(around.size());
    UChar32 character = 0;
    U8_PREV(around.data(), 0, length, character);
    const bool is_space = kind_of(character) == Kind::kSpace;
    if (is_space_after && !is_space) return at;
    is_space_after = is_space;
    at = tail + static_cast<size_t>(length);
  }
  return 0;
}

}  // namespace freshet::worker
