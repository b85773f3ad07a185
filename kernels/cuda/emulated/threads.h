// CUDA's threads on a CPU, so that kernels are tested where there is no GPU. The threads of a block are fibers of one
// operating-system thread, which are switched where a kernel waits: at barriers, warp operations, and waits for copies.
// Which of them goes first, which block, and which warps fall behind, is drawn anew for each launch, so that a result
// that depends on a missing barrier differs from launch to launch; shared memory is full of NaN when a block begins and
// ends at a page that nothing may touch; asynchronous copies arrive when they are waited for and leave NaN until then.
// A kernel in which all threads wait for each other is an error of the stream. It is slow, and it does not model warps
// that run ahead within a statement, caches, or weak memory. Included by launch.cuh only.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>

#include "base/status.h"
#include "kernels/cuda/stream.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
#define __shared__ static thread_local
#define __constant__ static
#define __restrict__ __restrict

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
  unsigned x, y, z;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

namespace freshet::cuda::emulated {

struct KernelShape {
  dim3 grid, block;
  size_t shared_bytes = 0;
};

// Queues it; it runs when somebody waits for the stream.
Status queue_kernel(const char* name, const KernelShape& shape, CudaStream stream, std::function<void()> thread);

struct Indices {
  uint3 thread, block;
  dim3 block_size, grid_size;
};
inline thread_local Indices indices;

// Of the calling thread's block: 0, 1, ... in the order x, y, z.
unsigned thread_number();
std::byte* shared_memory();
size_t shared_bytes();

// The kernel made a mistake: the stream's error. The first one counts.
[[noreturn]] void fail_kernel(const std::string& what);

// Goes on with other threads until `ready` says true. `what` names it when nobody can go on.
void wait_until(const char* what, const std::function<bool()>& ready);

void sync_block();
// The barrier `id` of a block, for `threads` of them, in whole warps.
void sync_some(unsigned id, unsigned threads);
void sync_warp(unsigned mask);
// Every lane in `mask` gives a value and gets that of lane `from` (its own when that gives none).
uint64_t exchange(unsigned mask, uint64_t value, unsigned from);
unsigned ballot(unsigned mask, bool vote);
// Every lane of a whole warp gives a value of at most kCollectedBytes, and sees those of all lanes, one after the
// other, until it is in the second of its warp's operations after this one.
inline constexpr size_t kCollectedBytes = 32;
const void* collect(const void* value, size_t bytes);
template <class T>
const T* collect(const T& value) {
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 16);
  return static_cast<const T*>(collect(&value, sizeof(T)));
}

// `check` runs once when the calling thread's block has ended, well or not; its error is the stream's.
void at_block_end(std::function<Status()> check);

// cp.async: what is copied arrives when its group is waited for, and is NaN until then.
void copy_async(void* to, const void* from, size_t bytes, size_t zeros = 0);
void commit_copies();
void wait_for_copies(unsigned groups_left);

template <class T>
T shuffle(unsigned mask, T value, unsigned from) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(mask, bits, from);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace freshet::cuda::emulated

namespace freshet::cuda {

template <class T = std::byte>
T* dynamic_shared() {
  return reinterpret_cast<T*>(emulated::shared_memory());
}

}  // namespace freshet::cuda

#define threadIdx (::freshet::cuda::emulated::indices.thread)
#define blockIdx (::freshet::cuda::emulated::indices.block)
#define blockDim (::freshet::cuda::emulated::indices.block_size)
#define gridDim (::freshet::cuda::emulated::indices.grid_size)

inline void __syncthreads() { ::freshet::cuda::emulated::sync_block(); }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFU) { ::freshet::cuda::emulated::sync_warp(mask); }
inline unsigned __ballot_sync(unsigned mask, int vote) { return ::freshet::cuda::emulated::ballot(mask, vote != 0); }
inline int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
inline int __all_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) == mask; }

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
  const unsigned lane = ::freshet::cuda::emulated::thread_number() % 32;
  const unsigned w = static_cast<unsigned>(width);
  return ::freshet::cuda::emulated::shuffle(mask, value, lane / w * w + static_cast<unsigned>(from) % w);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance, int width = 32) {
  const unsigned lane = ::freshet::cuda::emulated::thread_number() % 32, w = static_cast<unsigned>(width);
  const unsigned from = lane ^ static_cast<unsigned>(distance);
  return ::freshet::cuda::emulated::shuffle(mask, value, from / w == lane / w ? from : lane);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32) {
  const unsigned lane = ::freshet::cuda::emulated::thread_number() % 32, w = static_cast<unsigned>(width);
  return ::freshet::cuda::emulated::shuffle(mask, value, lane % w + distance < w ? lane + distance : lane);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32) {
  const unsigned lane = ::freshet::cuda::emulated::thread_number() % 32, w = static_cast<unsigned>(width);
  return ::freshet::cuda::emulated::shuffle(mask, value, lane % w >= distance ? lane - distance : lane);
}

inline float __uint_as_float(unsigned value) { return std::bit_cast<float>(value); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __int_as_float(int value) { return std::bit_cast<float>(value); }
inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0F / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float rsqrtf(float x) { return 1.0F / std::sqrt(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(uint64_t{a} * b >> 32); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline void __threadfence() {}
inline void __threadfence_block() {}
[[noreturn]] inline void __trap() { ::freshet::check_failed("kernel", 0, "__trap()", {}); }

template <class T>
T __ldg(const T* from) {
  return *from;
}
template <class T>
T __ldcs(const T* from) {
  return *from;
}
template <class T>
T __ldcg(const T* from) {
  return *from;
}
template <class T>
void __stcs(T* to, T value) {
  *to = value;
}
template <class T>
void __stcg(T* to, T value) {
  *to = value;
}
template <class T>
T atomicAdd(T* to, T value) {
  static_assert(std::is_integral_v<T>, "floating-point atomics have no fixed order");
  T old = *to;
  *to = old + value;
  return old;
}
template <class T>
T atomicMax(T* to, T value) {
  T old = *to;
  *to = std::max(old, value);
  return old;
}
template <class T>
T atomicMin(T* to, T value) {
  T old = *to;
  *to = std::min(old, value);
  return old;
}
template <class T>
constexpr T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
constexpr T max(T a, T b) {
  return a < b ? b : a;
}
