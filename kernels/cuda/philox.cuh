// Philox (base/random.h) in a kernel: four words for a counter, the same as on a CPU.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.cuh"

namespace freshet::cuda {

// Philox(seed, stream).block(counter)
__device__ __forceinline__ uint4 philox(uint64_t seed, uint64_t stream, uint64_t counter) {
  uint4 x = make_uint4(static_cast<unsigned>(counter), static_cast<unsigned>(counter >> 32),
                       static_cast<unsigned>(stream), static_cast<unsigned>(stream >> 32));
  unsigned key0 = static_cast<unsigned>(seed), key1 = static_cast<unsigned>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * x.x, product1 = uint64_t{0xCD9E8D57} * x.z;
    x = make_uint4(static_cast<unsigned>(product1 >> 32) ^ x.y ^ key0, static_cast<unsigned>(product1),
                   static_cast<unsigned>(product0 >> 32) ^ x.w ^ key1, static_cast<unsigned>(product0));
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  return x;
}

}  // namespace freshet::cuda
