// Barriers of some threads of a block: PTX ISA, "barrier.cta".
#pragma once

#include "kernels/cuda/launch.cuh"

namespace freshet::cuda {

// Waits until `threads` of the block, a multiple of 32, have come to the barrier `id`; what they wrote to memory before
// is seen by all of them. Whole warps call. `id`: 1 to 15; 0 is that of __syncthreads().
__device__ __forceinline__ void sync_some(unsigned id, unsigned threads) {
#if defined(__CUDACC__)
  __syncwarp();
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  emulated::sync_some(id, threads);
#endif
}

}  // namespace freshet::cuda
