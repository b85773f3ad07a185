// A stream of tokens as the examples of a gpt's training: sequences of one length with the token that follows each,
// sequence after sequence without overlap. Plain functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "worker/text/tokenizer.h"

namespace freshet::worker {

// invalid_argument, with what to change, when there is no whole sequence.
Status check_sequences(const std::vector<Token>& stream, size_t length);

// Fills tokens and targets[examples][length].
void copy_sequences(const std::vector<Token>& stream, size_t length, std::span<const uint32_t> examples,
                    int32_t* tokens, int32_t* targets);

}  // namespace freshet::worker
