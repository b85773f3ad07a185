#include "base/random.h"

#include <sys/random.h>

#include <cstdio>

#include "base/check.h"
#include "base/sha256.h"

namespace freshet {

std::array<uint32_t, 4> Philox::block(uint64_t counter) const {
  constexpr uint64_t kMul0 = 0xD2511F53, kMul1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  std::array<uint32_t, 4> x = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                               static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)};
  uint32_t k0 = static_cast<uint32_t>(seed_), k1 = static_cast<uint32_t>(seed_ >> 32);
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = kMul0 * x[0], p1 = kMul1 * x[2];
    x = {static_cast<uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return x;
}

uint64_t Philox::bits(uint64_t counter) const {
  auto x = block(counter);
  return x[0] | (static_cast<uint64_t>(x[1]) << 32);
}

double Philox::uniform(uint64_t counter) const { return static_cast<double>(bits(counter) >> 11) * 0x1.0p-53; }

uint64_t Philox::below(uint64_t counter, uint64_t bound) const {
  CHECK(bound > 0);
  __extension__ using uint128 = unsigned __int128;
  return static_cast<uint64_t>((static_cast<uint128>(bits(counter)) * bound) >> 64);
}

uint64_t stream_of(const std::string& name) {
  auto digest = Sha256::of(name);
  uint64_t stream = 0;
  for (int i = 7; i >= 0; --i) stream = (stream << 8) | digest[static_cast<size_t>(i)];
  return stream;
}

uint64_t SystemRandom::next() {
  uint64_t value = 0;
  ssize_t got = getrandom(&value, sizeof value, 0);
  CHECK(got == sizeof value);
  return value;
}

std::string new_id(Random& random) {
  // One after the other: the order in which arguments are evaluated is the compiler's, and ids of a seed must not be.
  auto high = static_cast<unsigned long long>(random.next());
  auto low = static_cast<unsigned long long>(random.next());
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", high, low);
  return text;
}

}  // namespace freshet
