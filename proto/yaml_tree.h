// YAML text as a tree of nodes with their lines, before anything is known about what they mean. Keeps what the usual
// parsers lose: lines, duplicate keys and quotes. Refuses what could make a small file large (aliases) or deep. Any
// thread.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace freshet {

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  int line = 0;                                        // from 1
  bool quoted = false;                                 // scalars: written as text on purpose
  std::string text;                                    // scalars
  std::vector<YamlNode> items;                         // sequences
  std::vector<std::pair<YamlNode, YamlNode>> members;  // maps, in the order of the file; keys are scalars
};

inline constexpr size_t kYamlBytesMax = 1u << 20;
inline constexpr size_t kYamlDepthMax = 32;

// The documents in the text; empty ones are left out. Every message starts with "file:line: ".
Result<std::vector<YamlNode>> parse_yaml(std::string_view text, const std::string& file);

// Whether the text is UTF-8 (no overlong forms, no surrogates), and the line of the first byte that is not.
bool is_utf8(std::string_view text, int* bad_line);

}  // namespace freshet
