// Text to tokens and back. A tokenizer is part of a model: trained with one, a model is served with the same.
// Immutable; any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace freshet::worker {

using Token = uint32_t;

// How the token that stands between documents is written.
inline constexpr std::string_view kEndOfText = "<|endoftext|>";

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Appends the tokens of `text`. Any bytes have tokens, and decode() gives them back. What looks like the end-of-text
  // token in the text is text like any other.
  virtual void encode(std::string_view text, std::vector<Token>* tokens) const = 0;

  // invalid_argument for a token that the vocabulary does not have.
  virtual Result<std::string> decode(std::span<const Token> tokens) const = 0;

  // Tokens are 0 .. size - 1.
  virtual size_t vocabulary_size() const = 0;
  // Stands between documents.
  virtual Token end_of_text() const = 0;
};

// 256 bytes and an end of text: for tiny models, and for text of any kind.
std::unique_ptr<Tokenizer> byte_tokenizer();

// The tokenizer of a directory that holds encoder.json and vocab.bpe, or vocab.json and merges.txt, which are the same
// under other names.
Result<std::unique_ptr<Tokenizer>> read_tokenizer(const std::filesystem::path& directory);

}  // namespace freshet::worker
