#include "worker/text/bpe_training.h"

#include <algorithm>
#include <queue>
#include <unordered_map>

#include "worker/text/byte_alphabet.h"
#include "worker/text/words.h"

namespace freshet::worker {
namespace {

constexpr size_t kBytes = 256;
constexpr int64_t kOccurrencesMin = 2;

struct Word {
  std::vector<Token> tokens;
  int64_t count = 0;  // of its occurrences in the text
};

struct Neighbours {
  int64_t count = 0;
  std::vector<uint32_t> words;  // all that hold them, and maybe some that did
};

class Merger {
 public:
  explicit Merger(std::vector<Word> words) : words_(std::move(words)) {
    for (uint32_t i = 0; i < words_.size(); ++i) {
      note_neighbours(words_[i], +1);
      apply_changes(i);
    }
    push_changed();
  }

  // The pair that occurs most often, when any occurs often enough.
  bool next(Bpe::Pair* pair) {
    while (!heap_.empty()) {
      const Candidate best = heap_.top();
      heap_.pop();
      auto found = neighbours_.find(best.key);
      if (found == neighbours_.end() || found->second.count != best.count) continue;  // counted anew since
      *pair = {static_cast<Token>(best.key >> 32), static_cast<Token>(best.key)};
      return true;
    }
    return false;
  }

  void merge(Bpe::Pair pair, Token merged) {
    const std::vector<uint32_t> where = std::move(neighbours_[Bpe::key_of(pair.first, pair.second)].words);
    for (uint32_t index : where) {
      Word& word = words_[index];
      note_neighbours(word, -1);
      size_t size = 0;
      for (size_t i = 0; i < word.tokens.size(); ++i) {
        const bool found =
            i + 1 < word.tokens.size() && word.tokens[i] == pair.first && word.tokens[i + 1] == pair.second;
        word.tokens[size++] = found ? merged : word.tokens[i];
        if (found) ++i;
      }
      word.tokens.resize(size);
      note_neighbours(word, +1);
      apply_changes(index);
    }
    neighbours_.erase(Bpe::key_of(pair.first, pair.second));
    push_changed();
  }

 private:
  struct Candidate {
    int64_t count = 0;
    uint64_t key = 0;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : key > other.key;
    }
  };
  struct Change {
    uint64_t key = 0;
    int sign = 0;
  };

  void note_neighbours(const Word& word, int sign) {
    for (size_t i = 0; i + 1 < word.tokens.size(); ++i) {
      changes_.push_back({Bpe::key_of(word.tokens[i], word.tokens[i + 1]), sign});
    }
  }

  // Counts what was noted of one word. Most of its neighbours were there before and still are.
  void apply_changes(uint32_t index) {
    std::sort(changes_.begin(), changes_.end(), [](const Change& a, const Change& b) { return a.key < b.key; });
    for (size_t begin = 0, end = 0; begin < changes_.size(); begin = end) {
      const uint64_t key = changes_[begin].key;
      int64_t difference = 0;
      bool was_there = false;
      for (end = begin; end < changes_.size() && changes_[end].key == key; ++end) {
        difference += changes_[end].sign;
        was_there |= changes_[end].sign < 0;
      }
      if (difference == 0) continue;
      Neighbours& neighbours = neighbours_[key];
      neighbours.count += difference * words_[index].count;
      if (!was_there) neighbours.words.push_back(index);
      changed_.push_back(key);
    }
    changes_.clear();
  }

  void push_changed() {
    std::sort(changed_.begin(), changed_.end());
    changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
    for (uint64_t key : changed_) {
      auto found = neighbours_.find(key);
      if (found != neighbours_.end() && found->second.count >= kOccurrencesMin) heap_.push({found->second.count, key});
    }
    changed_.clear();
  }

  std::vector<Word> words_;
  std::unordered_map<uint64_t, Neighbours> neighbours_;
  std::priority_queue<Candidate> heap_;
  std::vector<Change> changes_;    // of the word at hand
  std::vector<uint64_t> changed_;  // since candidates were pushed
};

}  // namespace

void BpeTraining::add(std::string_view text) {
  for_each_word(text, [&](std::string_view word) {
    auto found = words_.find(word);
    if (found == words_.end()) found = words_.emplace(word, 0).first;
    ++found->second;
  });
}

Result<Bpe> BpeTraining::train(size_t size) const {
  if (size < kBytes + 1) {
    return invalid_argument("a vocabulary has at least 257 tokens: the bytes and the end of text");
  }
  if (words_.empty()) return invalid_argument("there is no text to learn a vocabulary from");
  std::array<Token, kBytes> token_of_byte{};
  for (Token token = 0; token < kBytes; ++token) token_of_byte[alphabet_bytes()[token]] = token;
  std::vector<Word> words;
  for (const auto& [text, count] : words_) {
    Word word{{}, count};
    for (char c : text) word.tokens.push_back(token_of_byte[static_cast<uint8_t>(c)]);
    words.push_back(std::move(word));
  }
  Merger merger(std::move(words));
  std::vector<Bpe::Pair> merges;
  for (Bpe::Pair pair; kBytes + merges.size() + 1 < size && merger.next(&pair);) {
    merger.merge(pair, static_cast<Token>(kBytes + merges.size()));
    merges.push_back(pair);
  }
  return Bpe::of(merges);
}

}  // namespace freshet::worker
