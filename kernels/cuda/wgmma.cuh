// Matrix products of a warpgroup on compute capability 9.0a: PTX ISA, "wgmma.mma_async". All 128 threads of four
// neighbouring warps, the first of which has a number that is a multiple of 4, issue them together: a fence, products,
// a commit, a wait, and fence_registers() in front of and behind all that. D[64][n] (+)= A[64][k] * B[k][n] over 32
// bytes of k: 16 of bfloat16, 32 of e4m3. Sums are float. Thread t of the warpgroup holds, of rows r = t / 32 * 16 + t
// % 32 / 4 and r + 8 and columns c = 8 * j + t % 4 * 2 and c + 1:
//   sums[4 * j] = D[r][c], sums[4 * j + 1] = D[r][c + 1], sums[4 * j + 2] = D[r + 8][c], sums[4 * j + 3] = D[r + 8][c +
//   1].
// Operands in shared memory lie as the copy engine's swizzled tiles do (tensor_map.h): blocks of rows of 128 bytes, on
// borders of 1024 bytes. Device code for other capabilities ends in a trap; the host looks at the capability first.
#pragma once

#include <cstdint>

#include "kernels/cuda/tma.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define FRESHET_HAS_WGMMA 1
#endif

namespace freshet::cuda {

// Describes an operand in shared memory whose rows are M (or N) and hold 128 bytes of k. Groups of 8 rows follow each
// other. The next 32 bytes of k: descriptor_at(d, 32).
__device__ __forceinline__ uint64_t k_major_descriptor(const void* tile) {
  return (shared_address(tile) & 0x3FFFFU) >> 4 | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

// Describes one whose rows are k and hold 64 elements (128 bytes) of M (or N). Blocks for the next 64 of them follow
// `block_bytes` later. The next 16 of k: descriptor_at(d, 2048). bfloat16 only.
__device__ __forceinline__ uint64_t mn_major_descriptor(const void* tile, unsigned block_bytes) {
  return (shared_address(tile) & 0x3FFFFU) >> 4 | static_cast<uint64_t>(block_bytes >> 4) << 16 |
         uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

// `bytes` further; the sum stays below 256 KiB.
__device__ __forceinline__ uint64_t descriptor_at(uint64_t descriptor, unsigned bytes) {
  return descriptor + (bytes >> 4);
}

// In front of the first product, and of the first one after a wait or after the thread has written sums or A registers.
__device__ __forceinline__ void wgmma_fence() {
#if FRESHET_HAS_WGMMA
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  emulated::fence_products();
#endif
}

// What was issued since the last commit is one group.
__device__ __forceinline__ void wgmma_commit() {
#if FRESHET_HAS_WGMMA
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  emulated::commit_products();
#endif
}

// Until all but the newest `groups_left` groups are done: their sums may be read, their operands overwritten.
template <int groups_left>
__device__ __forceinline__ void wgmma_wait() {
#if FRESHET_HAS_WGMMA
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(groups_left) : "memory");
#elif defined(__CUDACC__)
  __trap();
#else
  emulated::wait_for_products(groups_left);
#endif
}

// Keeps the compiler from moving accesses to the sums over this place: in front of the fence and behind the wait.
template <int count>
__device__ __forceinline__ void fence_registers(float (&sums)[count]) {
#if FRESHET_HAS_WGMMA
#pragma unroll
  for (int i = 0; i < count; ++i) asm volatile("" : "+f"(sums[i])::"memory");
#elif defined(__CUDACC__)
  (void)sums;
#else
  emulated::touch_sums(sums, count);
#endif
}

// The same for operands in registers, which are written in front of the fence, too.
template <int steps>
__device__ __forceinline__ void fence_registers(unsigned (&a)[steps][4]) {
#if FRESHET_HAS_WGMMA
#pragma unroll
  for (int i = 0; i < 4 * steps; ++i) asm volatile("" : "+r"(a[i / 4][i % 4])::"memory");
#elif defined(__CUDACC__)
  (void)a;
#else
  emulated::touch_operand(a[0], 4 * size_t{steps});
#endif
}

#if FRESHET_HAS_WGMMA
#define FRESHET_TEN(t) "%" t "0, %" t "1, %" t "2, %" t "3, %" t "4, %" t "5, %" t "6, %" t "7, %" t "8, %" t "9, "
#define FRESHET_FIRST_30 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " FRESHET_TEN("1") FRESHET_TEN("2")
#define FRESHET_FIRST_90 \
  FRESHET_FIRST_30 FRESHET_TEN("3") FRESHET_TEN("4") FRESHET_TEN("5") FRESHET_TEN("6") FRESHET_TEN("7") FRESHET_TEN("8")
#define FRESHET_FIRST_32 FRESHET_FIRST_30 "%30, %31"
#define FRESHET_FIRST_64 FRESHET_FIRST_30 FRESHET_TEN("3") FRESHET_TEN("4") FRESHET_TEN("5") "%60, %61, %62, %63"
#define FRESHET_FIRST_96 FRESHET_FIRST_90 "%90, %91, %92, %93, %94, %95"
#define FRESHET_FIRST_128 \
  FRESHET_FIRST_90 FRESHET_TEN("9") FRESHET_TEN("10") FRESHET_TEN("11") "%120, %121, %122, %123, %124, %125, %126, " \
                                                                        "%127"
#define FRESHET_SUMS_8(i)                                                                              \
  "+f"(sums[(i)]), "+f"(sums[(i) + 1]), "+f"(sums[(i) + 2]), "+f"(sums[(i) + 3]), "+f"(sums[(i) + 4]), \
      "+f"(sums[(i) + 5]), "+f"(sums[(i) + 6]), "+f"(sums[(i) + 7])
#define FRESHET_SUMS_32(i) \
  FRESHET_SUMS_8(i), FRESHET_SUMS_8((i) + 8), FRESHET_SUMS_8((i) + 16), FRESHET_SUMS_8((i) + 24)
#define FRESHET_SUMS_64(i) FRESHET_SUMS_32(i), FRESHET_SUMS_32((i) + 32)
#define FRESHET_ALL_32 FRESHET_SUMS_32(0)
#define FRESHET_ALL_64 FRESHET_SUMS_64(0)
#define FRESHET_ALL_96 FRESHET_SUMS_64(0), FRESHET_SUMS_32(64)
#define FRESHET_ALL_128 FRESHET_SUMS_64(0), FRESHET_SUMS_64(64)

// n, then n / 2 and the numbers that follow it.
#define FRESHET_WGMMA_SHARED(n, h, i1, i2, i3, i4)                                            \
  asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, %" #i2                                 \
               ", 0;\n"                                                                       \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" FRESHET_FIRST_##h \
               "}, %" #h ", %" #i1 ", adds, 1, 1, %" #i3 ", %" #i4 ";\n}"                     \
               : FRESHET_ALL_##h                                                              \
               : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(a_mn_major), "n"(b_mn_major))
#define FRESHET_WGMMA_REGISTERS(n, h, i1, i2, i3, i4, i5, i6)                                           \
  asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, %" #i5                                           \
               ", 0;\n"                                                                                 \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" FRESHET_FIRST_##h           \
               "}, {%" #h ", %" #i1 ", %" #i2 ", %" #i3 "}, %" #i4 ", adds, 1, 1, %" #i6 ";\n}"         \
               : FRESHET_ALL_##h                                                                        \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)), \
                 "n"(b_mn_major))
#define FRESHET_WGMMA_FLOAT8(n, h, i1, i2)                                                                        \
  asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, %" #i2                                                     \
               ", 0;\n"                                                                                           \
               "wgmma.mma_async.sync.aligned.m64n" #n "k32.f32.e4m3.e4m3 {" FRESHET_FIRST_##h "}, %" #h ", %" #i1 \
                                                                                              ", adds, 1, 1;\n}"  \
               : FRESHET_ALL_##h                                                                                  \
               : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)))
#endif

// bfloat16, both operands in shared memory. n: 64, 128, 192 or 256. Without `accumulate` the old sums do not matter.
template <int n, bool a_mn_major = false, bool b_mn_major = false>
__device__ __forceinline__ void wgmma(float (&sums)[n / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(n == 64 || n == 128 || n == 192 || n == 256);
#if FRESHET_HAS_WGMMA
  if constexpr (n == 64) FRESHET_WGMMA_SHARED(64, 32, 33, 34, 35, 36);
  if constexpr (n == 128) FRESHET_WGMMA_SHARED(128, 64, 65, 66, 67, 68);
  if constexpr (n == 192) FRESHET_WGMMA_SHARED(192, 96, 97, 98, 99, 100);
  if constexpr (n == 256) FRESHET_WGMMA_SHARED(256, 128, 129, 130, 131, 132);
#elif defined(__CUDACC__)
  __trap();
#else
  emulated::multiply_async({sums, n, false, accumulate, nullptr, a, b, a_mn_major, b_mn_major});
#endif
}

// bfloat16, A in registers as two neighbours of k each: for row r, c = t % 4 * 2 and k = 16 of them, a[0] = A[r][c, c +
// 1], a[1] = A[r + 8][c, c + 1], a[2] = A[r][c + 8, c + 9], a[3] = A[r + 8][c + 8, c + 9]: the sums of a product,
// narrowed and taken pairwise, are the operand of the next. Registers stay as they are until the product has been
// waited for.
template <int n, bool b_mn_major = false>
__device__ __forceinline__ void wgmma(float (&sums)[n / 2], const unsigned (&a)[4], uint64_t b, bool accumulate) {
  static_assert(n == 64 || n == 128 || n == 192 || n == 256);
#if FRESHET_HAS_WGMMA
  if constexpr (n == 64) FRESHET_WGMMA_REGISTERS(64, 32, 33, 34, 35, 36, 37, 38);
  if constexpr (n == 128) FRESHET_WGMMA_REGISTERS(128, 64, 65, 66, 67, 68, 69, 70);
  if constexpr (n == 192) FRESHET_WGMMA_REGISTERS(192, 96, 97, 98, 99, 100, 101, 102);
  if constexpr (n == 256) FRESHET_WGMMA_REGISTERS(256, 128, 129, 130, 131, 132, 133, 134);
#elif defined(__CUDACC__)
  __trap();
#else
  emulated::multiply_async({sums, n, false, accumulate, a, 0, b, false, b_mn_major});
#endif
}

// e4m3, both operands in shared memory and with rows of k. n: 128 or 256.
template <int n>
__device__ __forceinline__ void wgmma_float8(float (&sums)[n / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(n == 128 || n == 256);
#if FRESHET_HAS_WGMMA
  if constexpr (n == 128) FRESHET_WGMMA_FLOAT8(128, 64, 65, 66);
  if constexpr (n == 256) FRESHET_WGMMA_FLOAT8(256, 128, 129, 130);
#elif defined(__CUDACC__)
  __trap();
#else
  emulated::multiply_async({sums, n, true, accumulate, nullptr, a, b, false, false});
#endif
}

#if FRESHET_HAS_WGMMA
#undef FRESHET_TEN
#undef FRESHET_FIRST_30
#undef FRESHET_FIRST_90
#undef FRESHET_FIRST_32
#undef FRESHET_FIRST_64
#undef FRESHET_FIRST_96
#undef FRESHET_FIRST_128
#undef FRESHET_SUMS_8
#undef FRESHET_SUMS_32
#undef FRESHET_SUMS_64
#undef FRESHET_ALL_32
#undef FRESHET_ALL_64
#undef FRESHET_ALL_96
#undef FRESHET_ALL_128
#undef FRESHET_WGMMA_SHARED
#undef FRESHET_WGMMA_REGISTERS
#undef FRESHET_WGMMA_FLOAT8
#endif

}  // namespace freshet::cuda
