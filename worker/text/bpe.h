// Byte-pair encoding as GPT-2 has it: a word's bytes are tokens, and of two tokens side by side those that come first
// in a list of merges become one, until none can. Immutable; any thread. It reads and writes the texts of GPT-2's two
// files (encoder.json and vocab.bpe; elsewhere called vocab.json and merges.txt) and, but for read_bpe(), no file.
#pragma once

#include <array>
#include <unordered_map>
#include <utility>

#include "worker/text/tokenizer.h"

namespace freshet::worker {

class Bpe final : public Tokenizer {
 public:
  using Pair = std::pair<Token, Token>;
  // Both tokens as one number, for tables.
  static uint64_t key_of(Token left, Token right) { return uint64_t{left} << 32 | right; }

  // GPT-2's files. invalid_argument says what is wrong: not JSON, tokens that are not 0 .. n - 1, a byte or
  // <|endoftext|> that has no token, a merge of or into what is no token.
  static Result<Bpe> parse(std::string_view encoder_json, std::string_view vocab_bpe);

  // The 256 bytes in the order of GPT-2, then what each merge makes, then <|endoftext|>. A merge names bytes or what an
  // earlier one made; else a programmer's mistake.
  static Bpe of(const std::vector<Pair>& merges);

  // The same tokens of any text.
  bool operator==(const Bpe& other) const;

  std::string encoder_json() const;
  std::string vocab_bpe() const;

  void encode(std::string_view text, std::vector<Token>* tokens) const override;
  Result<std::string> decode(std::span<const Token> tokens) const override;
  size_t vocabulary_size() const override { return bytes_of_.size(); }
  Token end_of_text() const override { return end_of_text_; }

 private:
  struct Merge {
    uint32_t rank = 0;
    Token merged = 0;
  };
  struct Parts;  // of one word, while they are merged

  Bpe() = default;
  Status add_merges(std::string_view vocab_bpe, const std::unordered_map<std::string, Token>& token_of);
  const Merge* merge_of(Token left, Token right) const;
  void encode_word(std::string_view word, Parts* parts, std::vector<Token>* tokens) const;

  std::vector<std::string> bytes_of_;  // by token; <|endoftext|> as it is written
  std::array<Token, 256> token_of_byte_{};
  std::vector<Pair> merges_;                      // by rank
  std::unordered_map<uint64_t, Merge> merge_of_;  // by both tokens
  Token end_of_text_ = 0;
};

// Of a directory that holds encoder.json and vocab.bpe, or vocab.json and merges.txt, which are the same under other
// names. Blocking.
Result<Bpe> read_bpe(const std::filesystem::path& directory);

}  // namespace freshet::worker
