// The copy engine of compute capability 9.0 and newer (tensor memory accelerator), and the barriers in shared memory
// that wait for it: PTX ISA, "cp.async.bulk.tensor" and "mbarrier". Device code for older ones ends in a trap; the host
// looks at the capability first.
//
// A barrier is a uint64_t in shared memory. It goes through phases whose parity is 0, 1, 0, ...: one is over when all
// its arrivals, and all the bytes that it was told to expect, have come. mbarrier_wait(b, 1) passes a fresh barrier at
// once.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_map.h"

#if !defined(__CUDACC__)
#include "kernels/cuda/emulated/async_units.h"
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define FRESHET_HAS_TMA 1
#endif

namespace freshet::cuda {

// Of a place in shared memory, within its window.
__device__ __forceinline__ unsigned shared_address(const void* shared) {
#if defined(__CUDACC__)
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
#else
  return emulated::shared_address(shared);
#endif
}

// One thread. `arrivals`: of a phase. Then mbarrier_init_fence() and a __syncthreads() before anyone uses it.
__device__ __forceinline__ void mbarrier_init(uint64_t* barrier, unsigned arrivals) {
#if FRESHET_HAS_TMA
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  emulated::init_barrier(barrier, arrivals);
#endif
}

// What this thread wrote to shared memory is seen by the copy engine and the warpgroups' products that it, or a thread
// behind a barrier, starts next; what they have read before may be overwritten.
__device__ __forceinline__ void fence_async_proxy() {
#if FRESHET_HAS_TMA
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  emulated::fence_proxies();
#endif
}

__device__ __forceinline__ void mbarrier_init_fence() {
#if FRESHET_HAS_TMA
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
  fence_async_proxy();
}

__device__ __forceinline__ void mbarrier_arrive(uint64_t* barrier) {
#if FRESHET_HAS_TMA
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  emulated::arrive_and_expect(barrier, 0);
#endif
}

// Arrives, and lets the phase wait for `bytes` that the copy engine brings.
__device__ __forceinline__ void mbarrier_arrive_expect(uint64_t* barrier, unsigned bytes) {
#if FRESHET_HAS_TMA
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  emulated::arrive_and_expect(barrier, bytes);
#endif
}

// Until the phase of this parity is over.
__device__ __forceinline__ void mbarrier_wait(uint64_t* barrier, unsigned parity) {
#if FRESHET_HAS_TMA
  const unsigned address = shared_address(barrier);
  unsigned is_over = 0;
  do {
    asm volatile(
        "{\n"
        ".reg .pred over;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
        "selp.u32 %0, 1, 0, over;\n"
        "}"
        : "=r"(is_over)
        : "r"(address), "r"(parity)
        : "memory");
  } while (is_over == 0);
#elif defined(__CUDACC__)
  __trap();
#else
  emulated::wait_for_phase(barrier, parity);
#endif
}

// Brings the map near; costs nothing when it is there.
__device__ __forceinline__ void tma_prefetch_map(const TensorMap* map) {
#if FRESHET_HAS_TMA
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#else
  (void)map;
#endif
}

// One thread. Brings the tile that begins at (x, y, ...), of which x counts elements of the first dimension, to `to`,
// on a border of 1024 bytes (128 when the map is not swizzled). The barrier gets the bytes of a whole tile, also of one
// that reaches over an end.
__device__ __forceinline__ void tma_load(void* to, const TensorMap* map, uint64_t* barrier, int x, int y) {
#if FRESHET_HAS_TMA
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
          shared_address(to)),
      "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y)
      : "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  const int at[] = {x, y};
  emulated::load_tile(to, *map, barrier, at, 2);
#endif
}

__device__ __forceinline__ void tma_load(void* to, const TensorMap* map, uint64_t* barrier, int x, int y, int z) {
#if FRESHET_HAS_TMA
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::
          "r"(shared_address(to)),
      "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z)
      : "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  const int at[] = {x, y, z};
  emulated::load_tile(to, *map, barrier, at, 3);
#endif
}

__device__ __forceinline__ void tma_load(void* to, const TensorMap* map, uint64_t* barrier, int x, int y, int z,
                                         int w) {
#if FRESHET_HAS_TMA
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(shared_address(to)),
      "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  const int at[] = {x, y, z, w};
  emulated::load_tile(to, *map, barrier, at, 4);
#endif
}

// One thread. Writes the tile; what of it lies outside of the array is left out. What threads wrote to `from` needs a
// fence_async_proxy() of each of them and a barrier before. Then tma_store_commit(), and a wait before the block ends.
__device__ __forceinline__ void tma_store(const TensorMap* map, int x, int y, const void* from) {
#if FRESHET_HAS_TMA
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
               "r"(shared_address(from)), "r"(x), "r"(y)
               : "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  const int at[] = {x, y};
  emulated::store_tile(*map, at, 2, from);
#endif
}

__device__ __forceinline__ void tma_store(const TensorMap* map, int x, int y, int z, const void* from) {
#if FRESHET_HAS_TMA
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
               "r"(shared_address(from)), "r"(x), "r"(y), "r"(z)
               : "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  const int at[] = {x, y, z};
  emulated::store_tile(*map, at, 3, from);
#endif
}

__device__ __forceinline__ void tma_store(const TensorMap* map, int x, int y, int z, int w, const void* from) {
#if FRESHET_HAS_TMA
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map),
               "r"(shared_address(from)), "r"(x), "r"(y), "r"(z), "r"(w)
               : "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  const int at[] = {x, y, z, w};
  emulated::store_tile(*map, at, 4, from);
#endif
}

__device__ __forceinline__ void tma_store_commit() {
#if FRESHET_HAS_TMA
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  emulated::commit_stores();
#endif
}

// The thread that stored waits until all but the newest `groups_left` groups have been read from shared memory, which
// may then be used again. They are in device memory when the kernel ends.
template <int groups_left>
__device__ __forceinline__ void tma_store_wait() {
#if FRESHET_HAS_TMA
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(groups_left) : "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  emulated::wait_for_stores(groups_left);
#endif
}

}  // namespace freshet::cuda
