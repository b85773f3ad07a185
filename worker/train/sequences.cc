#include "worker/train/sequences.h"

#include <string>

namespace freshet::worker {

Status check_sequences(const std::vector<Token>& stream, size_t length) {
  if (stream.size() > length) return Status::ok();
  return invalid_argument("the training text has " + std::to_string(stream.size()) + " tokens, and a sequence takes " +
                          std::to_string(length + 1) + ": give more text or lower gpt.context");
}

void copy_sequences(const std::vector<Token>& stream, size_t length, std::span<const uint32_t> examples,
                    int32_t* tokens, int32_t* targets) {
  for (const uint32_t example : examples) {
    const Token* from = stream.data() + example * length;
    for (size_t t = 0; t < length; ++t) {
      *tokens++ = static_cast<int32_t>(from[t]);
      *targets++ = static_cast<int32_t>(from[t + 1]);
    }
  }
}

}  // namespace freshet::worker
