#include "worker/train/permutation.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/random.h"

namespace freshet::worker {
namespace {

// Mixes all bits of its input into the low ones: two rounds of multiply and shift.
uint64_t mix(uint64_t x, uint64_t key) {
  x = (x + key) * 0x9E3779B97F4A7C15ULL;
  x ^= x >> 32;
  x = (x ^ key) * 0xD6E8FEB86659FD93ULL;
  return x ^ (x >> 32);
}

}  // namespace

Permutation::Permutation(uint64_t count, uint64_t seed, uint64_t pass) : count_(count) {
  unsigned bits = std::max(2, static_cast<int>(std::bit_width(count == 0 ? 0 : count - 1)));
  low_bits_ = bits / 2;
  high_bits_ = bits - low_bits_;
  Philox philox(seed, stream_of("order of rows"));
  for (size_t i = 0; i < keys_.size(); ++i) keys_[i] = philox.bits(pass * kRounds + i);
}

uint64_t Permutation::at(uint64_t position) const {
  CHECK(position < count_);
  uint64_t low_mask = (uint64_t{1} << low_bits_) - 1, high_mask = (uint64_t{1} << high_bits_) - 1;
  uint64_t value = position;
  do {  // fewer than two turns on average: the power of two is below twice the count
    uint64_t low = value & low_mask, high = value >> low_bits_;
    for (size_t round = 0; round < keys_.size(); round += 2) {
      low ^= mix(high, keys_[round]) & low_mask;
      high ^= mix(low, keys_[round + 1]) & high_mask;
    }
    value = (high << low_bits_) | low;
  } while (value >= count_);
  return value;
}

}  // namespace freshet::worker
