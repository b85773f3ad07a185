// Memory-bound. Bytes for each logit: forward 2, backward 4, or 6 for what of a row does not fit into shared memory.
//
// A block has a row; a thread has every so many-th vector of 8 of it, and knows after one pass its largest logit and
// the sum of e^(logit - largest) (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018). The
// backward asks for the whole row at once, by copies into shared memory, each thread's for itself, so that no barrier
// stands between a copy and its use: two rows of 55,000 columns are a multiprocessor's, one of which arrives while the
// other is written. Columns beyond 110,000 are read a second time.
#include "kernels/cuda/cross_entropy.h"

#include <algorithm>
#include <string>

#include "kernels/cuda/bfloat16.cuh"
#include "kernels/cuda/device.h"
#include "kernels/cuda/exp2.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kVector = 8;  // elements of a 16-byte access
constexpr unsigned kVectorBytes = 16;
constexpr unsigned kThreadsMax = 1024;
constexpr unsigned kInFlight = 4;                  // vectors of a thread that come straight from memory
constexpr unsigned kGroups = 4;                    // of copies into shared memory
constexpr unsigned kHalfSharedBytes = 110 * 1024;  // two such blocks fit a multiprocessor of Hopper
constexpr unsigned kOtherSharedBytes = 4096;       // of a block, that no row gets
constexpr float kLog2E = 1.4426950409F;
constexpr float kLn2 = 0.69314718056F;
constexpr float kLowest = -1e38F;  // below any logit, and finite

// Of the logits that were seen: the largest times log2(e), as it was rounded, and the sum of e^logit / 2^largest.
struct Softmax {
  float largest = kLowest;
  float sum = 0;
};

// Without a choice of contraction, so that forward and backward have the same bits.
__device__ __forceinline__ void take(const float (&x)[kVector], Softmax* row) {
  float largest = x[0];
#pragma unroll
  for (unsigned i = 1; i < kVector; ++i) largest = fmaxf(largest, x[i]);
  largest *= kLog2E;
  if (largest > row->largest) {
    row->sum = __fmul_rn(row->sum, exp2_approximate(row->largest - largest));
    row->largest = largest;
  }
  float terms[kVector];
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) terms[i] = exp2_approximate(__fmaf_rn(x[i], kLog2E, -row->largest));
  row->sum += ((terms[0] + terms[1]) + (terms[2] + terms[3])) + ((terms[4] + terms[5]) + (terms[6] + terms[7]));
}

__device__ __forceinline__ void take(const uint4& packed, Softmax* row) {
  float x[kVector];
  widen8(packed, x);
  take(x, row);
}

__device__ __forceinline__ Softmax join_warp(Softmax part) {
  const float largest = warp_max(part.largest);
  return {largest, warp_sum(__fmul_rn(part.sum, exp2_approximate(part.largest - largest)))};
}

// Every thread gets the whole row's. One barrier, behind which nothing of the row's first reading is left.
__device__ __forceinline__ Softmax join_block(Softmax part, Softmax* scratch) {
  part = join_warp(part);
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = part;
  __syncthreads();
  return join_warp(threadIdx.x % kWarp < blockDim.x / kWarp ? scratch[threadIdx.x % kWarp] : Softmax{});
}

// What makes logits into their gradients.
struct Gradient {
  float log2_sum;  // base 2, of the sum of e^logit
  float scale;
  unsigned target;

  // Of the eight logits from `column` on.
  __device__ __forceinline__ void apply(unsigned column, float (&x)[kVector]) const {
#pragma unroll
    for (unsigned i = 0; i < kVector; ++i) x[i] = exp2_approximate(__fmaf_rn(x[i], kLog2E, -log2_sum)) * scale;
    if (target - column >= kVector) return;
#pragma unroll
    for (unsigned i = 0; i < kVector; ++i) {
      if (column + i == target) x[i] -= scale;
    }
  }
  __device__ __forceinline__ uint4 of(unsigned column, const uint4& packed) const {
    float x[kVector];
    widen8(packed, x);
    apply(column, x);
    return narrow8(x);
  }
};

struct Chunk {
  unsigned columns, stride;
  unsigned kept;  // vectors of a row that stay in shared memory: all, or a multiple of the threads
  const float* scale;
  const int32_t* targets;
  Bfloat16* logits;
  float* losses;
};

template <bool kBackward>
__global__ void __launch_bounds__(kThreadsMax) cross_entropy_kernel(Chunk p) {
  __shared__ Softmax scratch[kThreadsMax / kWarp];
  const size_t row = blockIdx.x;
  Bfloat16* logits = p.logits + row * p.stride;
  uint4* vectors = reinterpret_cast<uint4*>(logits);
  const unsigned whole = p.columns / kVector, tail = p.columns % kVector;
  const unsigned threads = blockDim.x, thread = threadIdx.x;
  const int target = p.targets[row];
  if (target < 0) {
    if (thread == 0) p.losses[row] = 0;
    for (unsigned v = thread; kBackward && v < p.stride / kVector; v += threads) vectors[v] = make_uint4(0, 0, 0, 0);
    return;
  }
  const float target_logit = thread == 0 ? widen(logits[target]) : 0.0F;

  Softmax part;
  uint4* kept = dynamic_shared<uint4>();
  if constexpr (kBackward) {
    const unsigned rounds = (p.kept + threads - 1) / threads, group_rounds = (rounds + kGroups - 1) / kGroups;
    unsigned v = thread;
#pragma unroll
    for (unsigned group = 0; group < kGroups; ++group) {
      for (unsigned round = 0; round < group_rounds && v < p.kept; ++round, v += threads) {
        copy16_async(kept + v, vectors + v, true);
      }
      commit_copies();
    }
    v = thread;
    auto take_group = [&] {
      for (unsigned round = 0; round < group_rounds && v < p.kept; ++round, v += threads) take(kept[v], &part);
    };
    static_assert(kGroups == 4, "a wait for each");
    wait_for_copies<3>();
    take_group();
    wait_for_copies<2>();
    take_group();
    wait_for_copies<1>();
    take_group();
    wait_for_copies<0>();
    take_group();
  }
  for (unsigned v = p.kept + thread; v < whole; v += threads * kInFlight) {
    uint4 in[kInFlight];
#pragma unroll
    for (unsigned u = 0; u < kInFlight; ++u) {
      if (v + u * threads < whole) in[u] = vectors[v + u * threads];
    }
#pragma unroll
    for (unsigned u = 0; u < kInFlight; ++u) {
      if (v + u * threads < whole) take(in[u], &part);
    }
  }
  if (thread < tail) {
    float x[kVector];
#pragma unroll
    for (unsigned i = 0; i < kVector; ++i) x[i] = kLowest;
    x[0] = widen(logits[whole * kVector + thread]);
    take(x, &part);
  }

  const Softmax sums = join_block(part, scratch);
  if (thread == 0) p.losses[row] = kLn2 * (log2f(sums.sum) + __fmaf_rn(-target_logit, kLog2E, sums.largest));
  if constexpr (kBackward) {
    const Gradient gradient{log2f(sums.sum) + sums.largest, *p.scale, static_cast<unsigned>(target)};
    for (unsigned v = thread; v < p.kept; v += threads) vectors[v] = gradient.of(v * kVector, kept[v]);
    for (unsigned v = p.kept + thread; v < whole; v += threads * kInFlight) {
      uint4 in[kInFlight];
#pragma unroll
      for (unsigned u = 0; u < kInFlight; ++u) {
        if (v + u * threads < whole) in[u] = vectors[v + u * threads];
      }
#pragma unroll
      for (unsigned u = 0; u < kInFlight; ++u) {
        if (v + u * threads < whole) vectors[v + u * threads] = gradient.of((v + u * threads) * kVector, in[u]);
      }
    }
    // The columns that fill no vector, and what lies behind them.
    for (unsigned v = whole + thread; v < p.stride / kVector; v += threads) {
      float x[kVector];
      widen8(vectors[v], x);
      gradient.apply(v * kVector, x);
#pragma unroll
      for (unsigned i = 0; i < kVector; ++i) x[i] = v * kVector + i < p.columns ? x[i] : 0.0F;
      vectors[v] = narrow8(x);
    }
  }
}

__global__ void __launch_bounds__(kThreadsMax)
    sum_losses_kernel(size_t group, const float* __restrict__ losses, double* __restrict__ sums) {
  __shared__ double scratch[kThreadsMax / kWarp];
  const float* from = losses + blockIdx.x * group;
  double sum = strided_sum<8>(threadIdx.x, group, blockDim.x, [&](size_t i) { return static_cast<double>(from[i]); });
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Of a row; it decides how often a row is read, not on its bits.
Result<unsigned> kept_bytes_max() {
  // Asked once, which costs milliseconds: a process uses devices of one model.
  static const Result<DeviceProperties> device = device_properties();
  RETURN_IF_ERROR(device.status());
  return static_cast<unsigned>(device->shared_bytes_max) - kOtherSharedBytes;
}

template <bool kBackward>
Status cross_entropy(const char* name, const LogitChunk& chunk, Chunk p, CudaStream stream) {
  if (chunk.columns == 0 || chunk.stride % kVector != 0 || chunk.stride < chunk.columns || chunk.stride > INT32_MAX) {
    return invalid_argument("rows of " + std::to_string(chunk.columns) + " logits can't lie " +
                            std::to_string(chunk.stride) + " apart");
  }
  p.columns = static_cast<unsigned>(chunk.columns);
  p.stride = static_cast<unsigned>(chunk.stride);
  const unsigned whole = p.columns / kVector, bytes = whole * kVectorBytes;
  // About kGroups vectors a thread at least.
  const unsigned wanted = (whole / kGroups + kWarp) / kWarp * kWarp;
  const unsigned threads = bytes > kHalfSharedBytes ? kThreadsMax : std::min(wanted, kThreadsMax / 2);
  if (kBackward) {
    ASSIGN_OR_RETURN(const unsigned most, kept_bytes_max());
    p.kept = bytes <= most ? whole : most / kVectorBytes / threads * threads;
  }
  return launch(name, cross_entropy_kernel<kBackward>,
                {static_cast<unsigned>(chunk.rows), threads, size_t{p.kept} * kVectorBytes}, stream, p);
}

}  // namespace

Status cross_entropy_forward(const LogitChunk& chunk, const Bfloat16* logits, const int32_t* targets, float* losses,
                             CudaStream stream) {
  return cross_entropy<false>("cross_entropy_forward", chunk,
                              {0, 0, 0, nullptr, targets, const_cast<Bfloat16*>(logits), losses}, stream);
}

Status cross_entropy_backward(const LogitChunk& chunk, const float* scale, const int32_t* targets, Bfloat16* logits,
                              float* losses, CudaStream stream) {
  return cross_entropy<true>("cross_entropy_backward", chunk, {0, 0, 0, scale, targets, logits, losses}, stream);
}

Status sum_losses(size_t groups, size_t group, const float* losses, double* sums, CudaStream stream) {
  return launch("sum_losses", sum_losses_kernel, {static_cast<unsigned>(groups), kThreadsMax}, stream, group, losses,
                sums);
}

}  // namespace freshet::cuda
