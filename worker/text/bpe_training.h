// Learns the merges of a byte-pair encoding from text: again and again the two neighbours that occur most often become
// one token. Not thread-safe; one object per training. Memory grows with the number of different words, not with the
// text.
// Source of the algorithm: Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units",
// 2016.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "worker/text/bpe.h"

namespace freshet::worker {

class BpeTraining {
 public:
  void add(std::string_view text);

  // A vocabulary of `size` tokens (at least 257), or fewer when no two neighbours are left that occur twice. The same
  // words with the same counts give the same vocabulary, whatever the order of the text: of pairs that occur equally
  // often the one of older tokens is merged first. invalid_argument when `size` is too small or there was no text.
  Result<Bpe> train(size_t size) const;

 private:
  std::map<std::string, int64_t, std::less<>> words_;
};

}  // namespace freshet::worker
