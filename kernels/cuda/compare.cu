// Memory-bound: a checksum reads 4 bytes a word, a difference two elements.
#include "kernels/cuda/compare.h"

#include <algorithm>

#include "kernels/cuda/bfloat16.cuh"
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

__device__ __forceinline__ float as_float(float value) { return value; }
__device__ __forceinline__ float as_float(Bfloat16 value) { return widen(value); }

template <class T>
__global__ void __launch_bounds__(kThreads) difference_kernel(size_t count, const T* a, const T* b, unsigned* bits) {
  unsigned greatest = 0;
  const size_t stride = static_cast<size_t>(gridDim.x) * kThreads;
  for (size_t i = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += stride) {
    // As integers, so that a NaN is the greatest. Equal infinities are no difference.
    const float x = as_float(a[i]), y = as_float(b[i]);
    greatest = max(greatest, x == y ? 0U : __float_as_uint(x - y) & 0x7FFFFFFFU);
  }
  greatest = warp_max(greatest);
  if (threadIdx.x % kWarp == 0 && greatest > 0) atomicMax(bits, greatest);
}

unsigned blocks_for(size_t threads) {
  return static_cast<unsigned>(std::min((threads + kThreads - 1) / kThreads, kBlocksMax));
}

}  // namespace

Status raise_to_difference(size_t count, const float* a, const float* b, uint32_t* bits, CudaStream stream) {
  return launch("difference", difference_kernel<float>, {blocks_for(count), kThreads}, stream, count, a, b, bits);
}

Status raise_to_difference(size_t count, const Bfloat16* a, const Bfloat16* b, uint32_t* bits, CudaStream stream) {
  return launch("difference", difference_kernel<Bfloat16>, {blocks_for(count), kThreads}, stream, count, a, b, bits);
}

Status add_checksum(const void* data, size_t bytes, uint64_t* sum, CudaStream stream) {
  const size_t words = bytes / 4;
  return launch("checksum", checksum_kernel, {blocks_for(words), kThreads}, stream, words,
                static_cast<const unsigned*>(data), reinterpret_cast<unsigned long long*>(sum));
}

}  // namespace freshet::cuda
