#include "kernels/dropout.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/multiversion.h"
#include "kernels/cpu/vector.h"

namespace freshet::kernels {
namespace {

using U16 = uint32_t __attribute__((vector_size(64)));
using W16 = uint64_t __attribute__((vector_size(128)));

FRESHET_INLINE void multiply(uint32_t factor, U16 x, U16* high, U16* low) {
  W16 product = __builtin_convertvector(x, W16) * uint64_t{factor};
  *high = __builtin_convertvector(product >> 32, U16);
  *low = __builtin_convertvector(product, U16);
}

// Philox4x32-10 (base/random.h) for sixteen counters in a row.
FRESHET_INLINE void philox(const Dropout& d, uint64_t counter, U16 x[4]) {
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    x[0][lane] = static_cast<uint32_t>(counter + lane);
    x[1][lane] = static_cast<uint32_t>((counter + lane) >> 32);
  }
  x[2] = U16{} + static_cast<uint32_t>(d.stream);
  x[3] = U16{} + static_cast<uint32_t>(d.stream >> 32);
  uint32_t key0 = static_cast<uint32_t>(d.seed), key1 = static_cast<uint32_t>(d.seed >> 32);
  for (int round = 0; round < 10; ++round, key0 += 0x9E3779B9, key1 += 0xBB67AE85) {
    U16 high0, low0, high1, low1;
    multiply(0xD2511F53, x[0], &high0, &low0);
    multiply(0xCD9E8D57, x[2], &high1, &low1);
    x[0] = high1 ^ x[1] ^ key0;
    x[2] = high0 ^ x[3] ^ key1;
    x[1] = low1;
    x[3] = low0;
  }
}

}  // namespace

FRESHET_MULTIVERSION void dropout(const Dropout& d, uint64_t first, size_t count, float* x) {
  if (d.probability == 0) return;
  CHECK(first % 4 == 0 && d.probability > 0 && d.probability < 1);
  const auto limit = static_cast<uint32_t>(static_cast<double>(d.probability) * 0x1p32);
  const float scale = 1.0F / (1.0F - d.probability);
  constexpr size_t kChunk = 4 * kLanes;
  for (size_t i = 0; i < count; i += kChunk) {
    U16 words[4];
    philox(d, (first + i) / 4, words);
    float factor[kChunk];
    for (size_t lane = 0; lane < kLanes; ++lane) {
      for (size_t word = 0; word < 4; ++word) factor[4 * lane + word] = words[word][lane] >= limit ? scale : 0.0F;
    }
    const size_t end = std::min(kChunk, count - i);
    for (size_t j = 0; j < end; ++j) x[i + j] *= factor[j];
  }
}

}  // namespace freshet::kernels
