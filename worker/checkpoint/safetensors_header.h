// The start of a safetensors file, both ways: the length of its JSON header, and that. A parser of its own because the
// format's rules are about what general parsers forgive: keys given twice, numbers that do not fit, unknown fields. It
// knows nothing of the data behind.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace freshet::worker {

struct HeaderTensor {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  uint64_t begin = 0;  // data_offsets, in bytes from the start of the data
  uint64_t end = 0;
};

// Length, header, and spaces to a multiple of 8 bytes, so that the data behind is aligned.
std::string write_header(const std::vector<HeaderTensor>& tensors);

// Where the header ends, in bytes from the file's start, as its first 8 bytes claim.
uint64_t header_end(std::string_view start);

struct SafetensorsParts {
  std::vector<HeaderTensor> tensors;  // in the order of the text; "__metadata__" is checked and left out
  std::string_view data;              // all that follows the header
};

// kCorrupt says what is wrong, of the header's text at which byte. Whether the data fits is not looked at.
Result<SafetensorsParts> read_header(std::string_view file);

}  // namespace freshet::worker
