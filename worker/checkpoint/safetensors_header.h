// The JSON header of a safetensors file, both ways. A parser of its own because the format's rules are about what
// general parsers forgive: keys given twice, numbers that do not fit, unknown fields. It knows nothing of the data
// behind.
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

std::string write_header(const std::vector<HeaderTensor>& tensors);

// In the order of the text; "__metadata__" is checked and left out. kCorrupt says what is wrong and at which byte.
Status parse_header(std::string_view text, std::vector<HeaderTensor>* tensors);

}  // namespace freshet::worker
