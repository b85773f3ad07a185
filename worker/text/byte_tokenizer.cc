#include "worker/text/tokenizer.h"

namespace freshet::worker {
namespace {

constexpr Token kEndToken = 256;

class ByteTokenizer final : public Tokenizer {
 public:
  void encode(std::string_view text, std::vector<Token>* tokens) const override {
    tokens->reserve(tokens->size() + text.size());
    for (char c : text) tokens->push_back(static_cast<uint8_t>(c));
  }

  Result<std::string> decode(std::span<const Token> tokens) const override {
    std::string text;
    for (Token token : tokens) {
      if (token > kEndToken) {
        return invalid_argument("token " + std::to_string(token) + " is none of the 257 of the byte tokenizer");
      }
      if (token == kEndToken) {
        text += kEndOfText;
      } else {
        text += static_cast<char>(token);
      }
    }
    return text;
  }

  size_t vocabulary_size() const override { return kEndToken + 1; }
  Token end_of_text() const override { return kEndToken; }
};

}  // namespace

std::unique_ptr<Tokenizer> byte_tokenizer() { return std::make_unique<ByteTokenizer>(); }

}  // namespace freshet::worker
