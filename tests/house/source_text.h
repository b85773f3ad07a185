// A C++ file as the house rules see it: its lines, the same lines with comments and literals blanked, its comments, and
// its includes. Written for our own style, not a compiler's lexer. Values; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace freshet::house {

struct Include {
  size_t line = 0;  // from 1
  bool quoted = false;
  std::string path;
};

struct Comment {
  size_t line = 0;
  std::string text;  // one line of it, without the marks, trimmed
};

struct SourceText {
  std::vector<std::string> lines;
  std::vector<std::string> code;  // as lines, but comments and the insides of literals are blanks
  std::vector<Comment> comments;
  std::vector<Include> includes;
};

SourceText read_cpp(std::string_view text);

std::vector<std::string> split_lines(std::string_view text);
std::string_view trimmed(std::string_view text);

// Whether `word` stands in the text with no letter, digit or underscore directly before or behind it. Where the word
// itself begins or ends with another character, that side is free.
bool contains_word(std::string_view text, std::string_view word);

}  // namespace freshet::house
