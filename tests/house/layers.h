// The tables of the house rules: which folder may include what, and which words the deterministic folders may not use.
// Constant data; any thread.
#pragma once

#include <string_view>
#include <vector>

namespace freshet::house {

// A file belongs to the layer with the longest matching prefix. What it includes must begin with one of `may`.
struct Layer {
  std::string_view prefix;
  std::vector<std::string_view> may;
  std::string_view why;  // for the message
};
const std::vector<Layer>& layers();

// A library's headers and the layers (by prefix) that may use them. The longest matching prefix counts.
struct Library {
  std::string_view prefix;  // of the path in angle brackets
  std::vector<std::string_view> layers;
};
const std::vector<Library>& libraries();

// Folders whose code must be deterministic, so that the simulator can run it.
const std::vector<std::string_view>& pure_folders();

struct Forbidden {
  std::string_view word;
  std::string_view why;
};
// Headers (in either kind of bracket; ending in '/': a folder) and words that may not stand in those folders.
const std::vector<Forbidden>& impure_headers();
const std::vector<Forbidden>& impure_words();
// What may stand there although one of those words is part of it.
const std::vector<std::string_view>& pure_words();

}  // namespace freshet::house
