// Cuts text into the words that a byte-pair encoding works on, by the rules of GPT-2: English contractions, letters,
// numbers and other signs, each with the one space before it, and white space. No token ever crosses the end of a word.
// Pure; any thread.
// Source of the rules: the pattern in OpenAI's GPT-2 encoder. Letters, numbers and white space are Unicode's.
#pragma once

#include <cstddef>
#include <string_view>

namespace freshet::worker {

// The end of the word that begins at `begin` (< text.size()). Bytes that are not UTF-8 count as signs.
size_t word_end(std::string_view text, size_t begin);

// Calls `visit(word)` for each word in turn; together they are the text.
template <class Visit>
void for_each_word(std::string_view text, Visit visit) {
  for (size_t begin = 0; begin < text.size();) {
    size_t end = word_end(text, begin);
    visit(text.substr(begin, end - begin));
    begin = end;
  }
}

// The last place at which a text may be cut such that the words of both parts are those of the whole, whatever follows:
// between a character and white space. 0 when there is none.
size_t last_cut(std::string_view text);

}  // namespace freshet::worker
