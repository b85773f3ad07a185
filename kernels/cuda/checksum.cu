// Memory-bound: 4 bytes a word.
#include "kernels/cuda/checksum.h"

#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr size_t kBlocksMax = 1024;  // a grid-stride loop takes the rest

// Integers may be added in any order. The mix is the finisher of SplitMix64 (Steele, Lea and Flood, 2014).
__global__ void __launch_bounds__(kThreads)
    checksum_kernel(size_t words, const unsigned* data, unsigned long long* sum) {
  unsigned long long own = 0;
  const size_t stride = static_cast<size_t>(gridDim.x) * kThreads;
  for (size_t i = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x; i < words; i += stride) {
    unsigned long long mixed = (static_cast<unsigned long long>(i) << 32) + data[i] + 0x9E3779B97F4A7C15ULL;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9ULL;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBULL;
    own += mixed ^ mixed >> 31;
  }
  own = warp_sum(own);
  if (threadIdx.x % kWarp == 0) atomicAdd(sum, own);
}

}  // namespace

Status add_checksum(const void* data, size_t bytes, uint64_t* sum, CudaStream stream) {
  const size_t words = bytes / 4;
  const auto blocks = static_cast<unsigned>(std::min((words + kThreads - 1) / kThreads, kBlocksMax));
  return launch("checksum", checksum_kernel, {blocks, kThreads}, stream, words, static_cast<const unsigned*>(data),
                reinterpret_cast<unsigned long long*>(sum));
}

}  // namespace freshet::cuda
