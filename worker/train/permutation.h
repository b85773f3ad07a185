// The order in which a pass visits the rows: a pseudo-random permutation of [0, count) that is computed, not stored, so
// any rank can ask for any position. A Feistel network over the next power of two with cycle walking; keyed by seed and
// pass. Immutable; any thread. It decides the order of training examples and nothing that needs secrecy.
#pragma once

#include <array>
#include <cstdint>

namespace freshet::worker {

class Permutation {
 public:
  Permutation(uint64_t count, uint64_t seed, uint64_t pass);
  // The row at a position < count.
  uint64_t at(uint64_t position) const;

 private:
  static constexpr int kRounds = 8;
  uint64_t count_;
  unsigned low_bits_, high_bits_;
  std::array<uint64_t, kRounds> keys_;
};

}  // namespace freshet::worker
