#include "worker/text/bpe.h"

#include <boost/json.hpp>
#include <cstdint>
#include <queue>

#include "worker/text/byte_alphabet.h"
#include "worker/text/words.h"

namespace freshet::worker {
namespace {

constexpr std::string_view kVersionLine = "#version: 0.2";

// The tokens as encoder.json has them: written in the byte alphabet, by their number.
Result<std::vector<std::string>> read_vocabulary(std::string_view encoder_json) {
  boost::system::error_code error;
  boost::json::value root = boost::json::parse(encoder_json, error);
  if (error) return invalid_argument("the vocabulary is not JSON: " + error.message());
  if (!root.is_object()) return invalid_argument("the vocabulary is not a JSON object of tokens and their numbers");
  std::vector<std::string> tokens(root.get_object().size());
  for (const auto& [text, number] : root.get_object()) {
    const int64_t* token = number.if_int64();
    if (token == nullptr || *token < 0 || static_cast<size_t>(*token) >= tokens.size() || text.empty() ||
        !tokens[static_cast<size_t>(*token)].empty()) {
      return invalid_argument("the vocabulary gives '" + std::string(text) + "' the number " +
                              boost::json::serialize(number) + "; the numbers must be 0 to " +
                              std::to_string(tokens.size() - 1) + ", each once");
    }
    tokens[static_cast<size_t>(*token)] = text;
  }
  return tokens;
}

}  // namespace

Result<Bpe> Bpe::parse(std::string_view encoder_json, std::string_view vocab_bpe) {
  ASSIGN_OR_RETURN(std::vector<std::string> written, read_vocabulary(encoder_json));
  Bpe bpe;
  std::unordered_map<std::string, Token> token_of;  // by bytes
  bool has_end = false;
  for (Token token = 0; token < written.size(); ++token) {
    if (written[token] == kEndOfText) {
      has_end = true;
      bpe.end_of_text_ = token;
      bpe.bytes_of_.push_back(written[token]);
      continue;
    }
    ASSIGN_OR_RETURN(std::string bytes, from_alphabet(written[token]));
    token_of[bytes] = token;
    bpe.bytes_of_.push_back(std::move(bytes));
  }
  if (!has_end) return invalid_argument("the vocabulary has no " + std::string(kEndOfText));
  for (uint32_t byte = 0; byte < 256; ++byte) {
    auto found = token_of.find(std::string(1, static_cast<char>(byte)));
    if (found == token_of.end()) {
      return invalid_argument("the vocabulary has no token for the byte " + std::to_string(byte));
    }
    bpe.token_of_byte_[byte] = found->second;
  }
  RETURN_IF_ERROR(bpe.add_merges(vocab_bpe, token_of));
  return bpe;
}

Status Bpe::add_merges(std::string_view vocab_bpe, const std::unordered_map<std::string, Token>& token_of) {
  auto token_at = [&](std::string_view text) -> Result<Token> {
    ASSIGN_OR_RETURN(std::string bytes, from_alphabet(text));
    auto found = token_of.find(bytes);
    if (found == token_of.end()) return invalid_argument("'" + std::string(text) + "' is not in the vocabulary");
    return found->second;
  };
  size_t number = 0;
  while (!vocab_bpe.empty()) {
    std::string_view line = vocab_bpe.substr(0, vocab_bpe.find('\n'));
    vocab_bpe.remove_prefix(std::min(vocab_bpe.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    ++number;
    if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;
    const std::string context = "line " + std::to_string(number) + " of the merges";
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
      return invalid_argument(context + ": expected two tokens with a space between, not '" + std::string(line) + "'");
    }
    auto left = token_at(line.substr(0, space)).with_context(context);
    if (!left.is_ok()) return left.status();
    auto right = token_at(line.substr(space + 1)).with_context(context);
    if (!right.is_ok()) return right.status();
    auto merged = token_of.find(bytes_of_[*left] + bytes_of_[*right]);
    if (merged == token_of.end()) return invalid_argument(context + ": what it makes is not in the vocabulary");
    const Merge merge{static_cast<uint32_t>(merges_.size()), merged->second};
    if (!merge_of_.emplace(key_of(*left, *right), merge).second) return invalid_argument(context + " is there twice");
    merges_.emplace_back(*left, *right);
  }
  return Status::ok();
}

Bpe Bpe::of(const std::vector<Pair>& merges) {
  Bpe bpe;
  for (uint8_t byte : alphabet_bytes()) {
    bpe.token_of_byte_[byte] = static_cast<Token>(bpe.bytes_of_.size());
    bpe.bytes_of_.emplace_back(1, static_cast<char>(byte));
  }
  for (const auto& [left, right] : merges) {
    CHECK(left < bpe.bytes_of_.size() && right < bpe.bytes_of_.size());
    const Merge merge{static_cast<uint32_t>(bpe.merges_.size()), static_cast<Token>(bpe.bytes_of_.size())};
    CHECK(bpe.merge_of_.emplace(key_of(left, right), merge).second);
    bpe.bytes_of_.push_back(bpe.bytes_of_[left] + bpe.bytes_of_[right]);
    bpe.merges_.emplace_back(left, right);
  }
  bpe.end_of_text_ = static_cast<Token>(bpe.bytes_of_.size());
  bpe.bytes_of_.emplace_back(kEndOfText);
  return bpe;
}

bool Bpe::operator==(const Bpe& other) const { return bytes_of_ == other.bytes_of_ && merges_ == other.merges_; }

std::string Bpe::encoder_json() const {
  boost::json::object root;
  for (Token token = 0; token < bytes_of_.size(); ++token) {
    root[token == end_of_text_ ? std::string(kEndOfText) : to_alphabet(bytes_of_[token])] = token;
  }
  return boost::json::serialize(root);
}

std::string Bpe::vocab_bpe() const {
  std::string text(kVersionLine);
  text += '\n';
  for (const auto& [left, right] : merges_) {
    text += to_alphabet(bytes_of_[left]) + ' ' + to_alphabet(bytes_of_[right]) + '\n';
  }
  return text;
}

const Bpe::Merge* Bpe::merge_of(Token left, Token right) const {
  auto found = merge_of_.find(key_of(left, right));
  return found == merge_of_.end() ? nullptr : &found->second;
}

// The parts of a word are a list over an array; what can be merged waits in a heap, so that a word of a million letters
// takes n log n. An entry of the heap is stale when one of its parts has become another or is gone.
struct Bpe::Parts {
  struct Part {
    Token token = 0;
    size_t next = 0;      // parts.size(): none
    size_t previous = 0;  // of the first: itself
    bool gone = false;
  };
  struct Candidate {
    uint32_t rank = 0;
    size_t left = 0;
    Token left_token = 0, right_token = 0;

    // The heap gives the greatest: the merge that comes first, and of equal ones the leftmost.
    bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };
  std::vector<Part> parts;
  std::priority_queue<Candidate> heap;
};

void Bpe::encode_word(std::string_view word, Parts* work, std::vector<Token>* tokens) const {
  if (word.size() == 1) {
    tokens->push_back(token_of_byte_[static_cast<uint8_t>(word[0])]);
    return;
  }
  auto& parts = work->parts;
  auto& heap = work->heap;
  parts.resize(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    parts[i] = {token_of_byte_[static_cast<uint8_t>(word[i])], i + 1, i == 0 ? 0 : i - 1, false};
  }
  auto consider = [&](size_t left) {
    if (parts[left].next == parts.size()) return;
    const Token left_token = parts[left].token, right_token = parts[parts[left].next].token;
    if (const Merge* merge = merge_of(left_token, right_token)) heap.push({merge->rank, left, left_token, right_token});
  };
  for (size_t i = 0; i + 1 < parts.size(); ++i) consider(i);
  while (!heap.empty()) {
    const Parts::Candidate candidate = heap.top();
    heap.pop();
    Parts::Part& left = parts[candidate.left];
    if (left.gone || left.token != candidate.left_token || left.next == parts.size()) continue;
    Parts::Part& right = parts[left.next];
    if (right.token != candidate.right_token) continue;
    left.token = merge_of(candidate.left_token, candidate.right_token)->merged;
    right.gone = true;
    left.next = right.next;
    if (left.next != parts.size()) parts[left.next].previous = candidate.left;
    consider(candidate.left);
    if (candidate.left != 0) consider(left.previous);
  }
  for (size_t i = 0; i != parts.size(); i = parts[i].next) tokens->push_back(parts[i].token);
}

void Bpe::encode(std::string_view text, std::vector<Token>* tokens) const {
  // Most words of a text occur in it again; the tokens of their first occurrence are copied.
  struct Range {
    size_t begin = 0, size = 0;
  };
  std::unordered_map<std::string_view, Range> seen;
  Parts parts;
  for_each_word(text, [&](std::string_view word) {
    auto [found, is_new] = seen.try_emplace(word, Range{tokens->size(), 0});
    if (is_new) {
      encode_word(word, &parts, tokens);
      found->second.size = tokens->size() - found->second.begin;
      return;
    }
    for (size_t i = 0; i < found->second.size; ++i) {
      const Token token = (*tokens)[found->second.begin + i];
      tokens->push_back(token);
    }
  });
}

Result<std::string> Bpe::decode(std::span<const Token> tokens) const {
  std::string text;
  for (Token token : tokens) {
    if (token >= bytes_of_.size()) {
      return invalid_argument("token " + std::to_string(token) + " is none of the vocabulary's " +
                              std::to_string(bytes_of_.size()));
    }
    text += bytes_of_[token];
  }
  return text;
}

}  // namespace freshet::worker
