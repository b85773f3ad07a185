// Tokens that a model can learn something from: each is a function of the one before and a little noise. The same in
// every run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/random.h"

namespace freshet {

inline std::vector<int32_t> gpt_corpus(size_t count, uint32_t vocabulary) {
  Philox philox(1, stream_of("corpus"));
  std::vector<int32_t> tokens(count);
  uint64_t last = 0;
  for (size_t i = 0; i < count; ++i) {
    last = (5 * last + philox.below(i, 4)) % vocabulary;
    tokens[i] = static_cast<int32_t>(last);
  }
  return tokens;
}

}  // namespace freshet
