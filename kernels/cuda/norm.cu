// Memory-bound. Bytes for each element: forward 4, with `add` 8; norm_again 4; backward 6, or 8 where there is a
// gradient already, and beside them 4 a column and block for the parts of each of dweight, dbias and the sum of dh.
//
// A team of threads has a row in registers, so memory is read once. Version 1, rows of up to 768: the team is a warp,
// and nothing waits for another warp. Version 2, wider rows: the team is several warps with two vectors of 8 a thread.
// The backward's blocks stay and go from row to row: they sum over the rows in registers, which leaves none for the
// rows to come; those are copied into shared memory meanwhile, by each thread for itself, so that no barrier is needed.
#include "kernels/cuda/norm.h"

#include <algorithm>

#include "kernels/cuda/bfloat16.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/sum_parts.h"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kVector = 8;            // elements of a 16-byte access
constexpr unsigned kThreadsMax = 512;      // of a block
constexpr unsigned kWarpVectorsMax = 3;    // of a thread, where a warp has a row
constexpr unsigned kTeamVectors = 2;       // of a thread, where several warps have one
constexpr unsigned kForwardRows = 4;       // of a block, where a warp has a row
constexpr unsigned kAgainVectors = 3;      // of a thread, in flight, in norm_again
constexpr unsigned kBackwardBlocks = 132;  // one a multiprocessor of an H200, and the number of parts anywhere

// Rows of a team in the backward's shared memory: one at work, the others on their way. 144 KiB at most: what sm_80
// has, too.
template <int kVectors>
constexpr unsigned kStagesOf = kVectors > 2 ? 2 : 3;

// How the rows of a width are shared out.
struct Layout {
  unsigned vectors = 0;  // of a thread
  unsigned warps = 0;    // of a row's team
};

Layout layout_of(size_t width) {
  const auto vectors = static_cast<unsigned>(width / kVector);
  if (vectors <= kWarpVectorsMax * kWarp) return {(vectors + kWarp - 1) / kWarp, 1};
  return {kTeamVectors, (vectors + kTeamVectors * kWarp - 1) / (kTeamVectors * kWarp)};
}

unsigned backward_rows(const Layout& layout) { return kThreadsMax / kWarp / layout.warps; }

unsigned backward_blocks(const NormShape& shape) {
  const size_t rows = backward_rows(layout_of(shape.width));
  return static_cast<unsigned>(std::min<size_t>(kBackwardBlocks, (shape.rows + rows - 1) / rows));
}

Status check(const NormShape& shape) {
  if (shape.width > 0 && shape.width % kVector == 0 && shape.width <= kNormWidthMax) return Status::ok();
  return invalid_argument("a norm's width is a multiple of 8 up to " + std::to_string(kNormWidthMax) + ", not " +
                          std::to_string(shape.width));
}

// The thread's vectors of a row: every `lanes`-th of them, and zeros behind the row's end.
template <int kVectors>
__device__ __forceinline__ void load_row(const Bfloat16* row, unsigned vectors, unsigned lane, unsigned lanes,
                                         uint4 (&values)[kVectors]) {
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const unsigned at = lane + static_cast<unsigned>(k) * lanes;
    values[k] = at < vectors ? reinterpret_cast<const uint4*>(row)[at] : make_uint4(0, 0, 0, 0);
  }
}

// The last step of all forward kernels, without a choice of contraction, so that norm_again has the same bits.
template <bool kCentred>
__device__ __forceinline__ void scale_and_store(const float (&h)[kVector], float mean, float scale,
                                                const Bfloat16* weight, const Bfloat16* bias, Bfloat16* y) {
  float w[kVector], b[kVector], out[kVector];
  load8(weight, w);
  if constexpr (kCentred) load8(bias, b);
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) {
    if constexpr (kCentred) {
      out[i] = __fmaf_rn((h[i] - mean) * scale, w[i], b[i]);
    } else {
      out[i] = h[i] * scale * w[i];
    }
  }
  store8(out, y);
}

struct Forward {
  NormShape shape;
  const Bfloat16 *x, *add, *weight, *bias;
  Bfloat16 *sum, *y;
  float *mean, *scale;
};

template <int kVectors, bool kOneWarp, bool kCentred>
__global__ void __launch_bounds__(kThreadsMax) forward_kernel(Forward p) {
  __shared__ float scratch[2][kThreadsMax / kWarp];
  auto team_sum = [](float value, float* shared) { return kOneWarp ? warp_sum(value) : block_sum(value, shared); };
  const unsigned lanes = kOneWarp ? kWarp : blockDim.x, lane = threadIdx.x % lanes;
  const size_t row = static_cast<size_t>(blockIdx.x) * (blockDim.x / lanes) + threadIdx.x / lanes;
  if (row >= p.shape.rows) return;  // a whole team
  const size_t begin = row * p.shape.width;
  const auto vectors = static_cast<unsigned>(p.shape.width / kVector);
  const float one_over_width = 1.0F / static_cast<float>(p.shape.width);

  float h[kVectors][kVector];
  uint4 packed[kVectors];
  load_row(p.x + begin, vectors, lane, lanes, packed);
  if (p.add != nullptr) {
    uint4 more[kVectors];
    load_row(p.add + begin, vectors, lane, lanes, more);
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      float a[kVector], b[kVector];
      widen8(packed[k], a);
      widen8(more[k], b);
#pragma unroll
      for (unsigned i = 0; i < kVector; ++i) a[i] += b[i];
      packed[k] = narrow8(a);
      const unsigned at = lane + static_cast<unsigned>(k) * lanes;
      if (at < vectors) reinterpret_cast<uint4*>(p.sum + begin)[at] = packed[k];
    }
  }
#pragma unroll
  for (int k = 0; k < kVectors; ++k) widen8(packed[k], h[k]);

  float mean = 0;
  if constexpr (kCentred) {
    float sum = 0;
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
#pragma unroll
      for (unsigned i = 0; i < kVector; ++i) sum += h[k][i];
    }
    mean = team_sum(sum, scratch[0]) * one_over_width;
  }
  // From the registers a second time, for the digits that mean(h^2) - mean(h)^2 would lose.
  float square = 0;
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    if (lane + static_cast<unsigned>(k) * lanes >= vectors) continue;
#pragma unroll
    for (unsigned i = 0; i < kVector; ++i) square += (h[k][i] - mean) * (h[k][i] - mean);
  }
  const float scale = rsqrtf(team_sum(square, scratch[1]) * one_over_width + p.shape.epsilon);
  if (lane == 0) {
    if constexpr (kCentred) p.mean[row] = mean;
    p.scale[row] = scale;
  }
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const unsigned at = lane + static_cast<unsigned>(k) * lanes;
    if (at >= vectors) continue;
    scale_and_store<kCentred>(h[k], mean, scale, p.weight + at * kVector, p.bias + at * kVector,
                              p.y + begin + at * kVector);
  }
}

// One warp a row.
template <bool kCentred>
__global__ void __launch_bounds__(kForwardRows* kWarp) again_kernel(Forward p) {
  const size_t row = static_cast<size_t>(blockIdx.x) * kForwardRows + threadIdx.x / kWarp;
  if (row >= p.shape.rows) return;
  const size_t begin = row * p.shape.width;
  const auto vectors = static_cast<unsigned>(p.shape.width / kVector);
  const float mean = kCentred ? p.mean[row] : 0, scale = p.scale[row];
  for (unsigned first = threadIdx.x % kWarp; first < vectors; first += kWarp * kAgainVectors) {
    uint4 packed[kAgainVectors];
    load_row(p.x + begin, vectors, first, kWarp, packed);
#pragma unroll
    for (unsigned k = 0; k < kAgainVectors; ++k) {
      const unsigned at = (first + k * kWarp) * kVector;
      if (at >= p.shape.width) continue;
      float h[kVector];
      widen8(packed[k], h);
      scale_and_store<kCentred>(h, mean, scale, p.weight + at, p.bias + at, p.y + begin + at);
    }
  }
}

struct Backward {
  NormShape shape;
  unsigned team_warps;
  const Bfloat16 *h, *weight;
  const float *mean, *scale;
  const Bfloat16* dy;
  bool is_first;
  Bfloat16* dh;
  float* parts;
};

// What the backward sums over the rows: dweight, with kCentred dbias too, with kSummed also dh.
enum class Sums { kScaled, kCentred, kSummed };

struct Numbers {
  float mean, scale;
};

// Zeros where there is no such row: with them it adds nothing to any sum.
template <bool kCentred>
__device__ __forceinline__ Numbers numbers_of(const Backward& p, unsigned row) {
  const bool exists = row < p.shape.rows;
  return {kCentred && exists ? p.mean[row] : 0.0F, exists ? p.scale[row] : 0.0F};
}

// The arrays of a row, in shared memory.
enum Array : unsigned { kH, kDy, kDh, kArrays };

// Asks for the thread's vectors of a row; zeros where there is none, and for dh where there is no gradient yet.
template <int kVectors>
__device__ __forceinline__ void ask_for_row(const Backward& p, unsigned row, unsigned lane, unsigned lanes,
                                            uint4* slots) {
  const auto width = static_cast<unsigned>(p.shape.width);
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const unsigned column = (lane + static_cast<unsigned>(k) * lanes) * kVector;
    const bool exists = row < p.shape.rows && column < width;
    const size_t at = exists ? size_t{row} * width + column : 0;
    copy16_async(slots + (kH * kVectors + k) * kThreadsMax, p.h + at, exists);
    copy16_async(slots + (kDy * kVectors + k) * kThreadsMax, p.dy + at, exists);
    copy16_async(slots + (kDh * kVectors + k) * kThreadsMax, p.dh + at, exists && !p.is_first);
  }
}

// The sums over a team, to each of its threads; scratch holds one a warp of the block.
template <bool kOneWarp>
__device__ __forceinline__ float2 team_sums(float2 value, unsigned first_warp, unsigned warps, float2* scratch) {
  value.x = warp_sum(value.x);
  value.y = warp_sum(value.y);
  if constexpr (kOneWarp) return value;
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = value;
  __syncthreads();
  float2 sum = scratch[first_warp];
  for (unsigned warp = 1; warp < warps; ++warp) {
    sum.x += scratch[first_warp + warp].x;
    sum.y += scratch[first_warp + warp].y;
  }
  return sum;
}

// part[column] = the sum over the block's teams, in their order. Shared memory: a row of floats a team, which is less
// than a stage.
template <int kVectors>
__device__ __forceinline__ void store_part(const float (&sums)[kVectors][kVector], unsigned width, unsigned team,
                                           unsigned teams, unsigned lane, unsigned lanes, float* part) {
  float* shared = dynamic_shared<float>();
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const unsigned at = (lane + static_cast<unsigned>(k) * lanes) * kVector;
    if (at >= width) continue;
    float4* to = reinterpret_cast<float4*>(shared + team * width + at);
    to[0] = make_float4(sums[k][0], sums[k][1], sums[k][2], sums[k][3]);
    to[1] = make_float4(sums[k][4], sums[k][5], sums[k][6], sums[k][7]);
  }
  __syncthreads();
  for (unsigned column = threadIdx.x; column < width; column += blockDim.x) {
    float sum = shared[column];
    for (unsigned other = 1; other < teams; ++other) sum += shared[other * width + column];
    part[column] = sum;
  }
}

template <int kVectors, bool kOneWarp, Sums kSums>
__global__ void __launch_bounds__(kThreadsMax, 1) backward_kernel(Backward p) {
  constexpr bool kCentred = kSums != Sums::kScaled;
  constexpr unsigned kStages = kStagesOf<kVectors>;
  __shared__ float2 scratch[kStages][kThreadsMax / kWarp];
  const unsigned warps = kOneWarp ? 1 : p.team_warps, lanes = warps * kWarp;
  const unsigned team = threadIdx.x / lanes, teams = blockDim.x / lanes, lane = threadIdx.x % lanes;
  const auto width = static_cast<unsigned>(p.shape.width), rows = static_cast<unsigned>(p.shape.rows);
  const unsigned vectors = width / kVector, step = gridDim.x * teams;
  const float one_over_width = 1.0F / static_cast<float>(width);
  constexpr unsigned kStageSlots = kArrays * kVectors * kThreadsMax;
  uint4* slots = dynamic_shared<uint4>() + threadIdx.x;

  float dweight[kVectors][kVector] = {}, dbias[kVectors][kVector] = {}, dh_sum[kVectors][kVector] = {};

  unsigned begin = blockIdx.x * teams, stage = 0;
  for (unsigned ahead = 0; ahead < kStages - 1; ++ahead) {
    ask_for_row<kVectors>(p, begin + team + ahead * step, lane, lanes, slots + ahead * kStageSlots);
    commit_copies();
  }
  Numbers next = numbers_of<kCentred>(p, begin + team);
  // The block's teams go on together, for the barrier of team_sums(), whose scratch takes turns, so that one is enough.
  for (; begin < rows; begin += step, stage = (stage + 1) % kStages) {
    const unsigned row = begin + team;
    const uint4* in = slots + stage * kStageSlots;
    ask_for_row<kVectors>(p, row + (kStages - 1) * step, lane, lanes,
                          slots + (stage + kStages - 1) % kStages * kStageSlots);
    const Numbers now = next;
    next = numbers_of<kCentred>(p, row + step);
    wait_for_copies<kStages - 2>();

    // Anew for each row, from the L1 cache: there are no registers for it.
    uint4 weight[kVectors];
    load_row(p.weight, vectors, lane, lanes, weight);
    float2 sums = make_float2(0, 0);  // of g = dy * weight, and of g * z, z the normalised h
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      float h[kVector], dy[kVector], w[kVector];
      widen8(in[(kH * kVectors + k) * kThreadsMax], h);
      widen8(in[(kDy * kVectors + k) * kThreadsMax], dy);
      widen8(weight[k], w);
#pragma unroll
      for (unsigned i = 0; i < kVector; ++i) {
        const float z = (h[i] - now.mean) * now.scale, g = dy[i] * w[i];
        if constexpr (kCentred) sums.x += g;
        sums.y += g * z;
        dweight[k][i] += dy[i] * z;
        if constexpr (kCentred) dbias[k][i] += dy[i];
      }
    }
    sums = team_sums<kOneWarp>(sums, team * warps, warps, scratch[stage]);
    // Here, so that the compiler reads the row again rather than keep it in registers that it lacks.
    commit_copies();
    // dh += scale * (g - mean(g) - z * mean(g z)), z being (h - mean) * scale.
    const float constant = -now.scale * sums.x * one_over_width;
    const float slope = -now.scale * now.scale * sums.y * one_over_width;
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      const unsigned at = lane + static_cast<unsigned>(k) * lanes;
      if (row >= rows || at >= vectors) continue;
      float h[kVector], dy[kVector], w[kVector], d[kVector];
      widen8(in[(kH * kVectors + k) * kThreadsMax], h);
      widen8(in[(kDy * kVectors + k) * kThreadsMax], dy);
      widen8(in[(kDh * kVectors + k) * kThreadsMax], d);
      widen8(weight[k], w);
#pragma unroll
      for (unsigned i = 0; i < kVector; ++i) {
        d[i] += now.scale * (dy[i] * w[i]) + (slope * (h[i] - now.mean) + constant);
        if constexpr (kSums == Sums::kSummed) dh_sum[k][i] += d[i];
      }
      reinterpret_cast<uint4*>(p.dh + size_t{row} * width)[at] = narrow8(d);
    }
  }
  wait_for_copies<0>();
  __syncthreads();

  float* part = p.parts + static_cast<size_t>(blockIdx.x) * width;
  const size_t next_part = static_cast<size_t>(gridDim.x) * width;
  store_part(dweight, width, team, teams, lane, lanes, part);
  if constexpr (kCentred) {
    __syncthreads();
    store_part(dbias, width, team, teams, lane, lanes, part + next_part);
  }
  if constexpr (kSums == Sums::kSummed) {
    __syncthreads();
    store_part(dh_sum, width, team, teams, lane, lanes, part + 2 * next_part);
  }
}

template <bool kCentred>
Status forward(const char* name, const Forward& p, CudaStream stream) {
  RETURN_IF_ERROR(check(p.shape));
  const Layout layout = layout_of(p.shape.width);
  const bool one_warp = layout.warps == 1;
  const size_t blocks = one_warp ? (p.shape.rows + kForwardRows - 1) / kForwardRows : p.shape.rows;
  auto* kernel = !one_warp             ? forward_kernel<kTeamVectors, false, kCentred>
                 : layout.vectors == 1 ? forward_kernel<1, true, kCentred>
                 : layout.vectors == 2 ? forward_kernel<2, true, kCentred>
                                       : forward_kernel<3, true, kCentred>;
  return launch(name, kernel, {static_cast<unsigned>(blocks), (one_warp ? kForwardRows : layout.warps) * kWarp}, stream,
                p);
}

template <Sums kSums>
Status backward(const char* name, Backward p, std::initializer_list<float*> sums, CudaStream stream) {
  RETURN_IF_ERROR(check(p.shape));
  const Layout layout = layout_of(p.shape.width);
  p.team_warps = layout.warps;
  auto* kernel = layout.warps > 1      ? backward_kernel<kTeamVectors, false, kSums>
                 : layout.vectors == 1 ? backward_kernel<1, true, kSums>
                 : layout.vectors == 2 ? backward_kernel<2, true, kSums>
                                       : backward_kernel<3, true, kSums>;
  const unsigned blocks = backward_blocks(p.shape), rows = backward_rows(layout);
  const size_t shared_bytes =
      size_t{layout.vectors > 2 ? kStagesOf<3> : kStagesOf<2>} * kArrays * layout.vectors * kThreadsMax * sizeof(uint4);
  RETURN_IF_ERROR(launch(name, kernel, {blocks, rows * layout.warps * kWarp, shared_bytes}, stream, p));
  return sum_parts(blocks, p.shape.width, p.parts, sums, stream);
}

}  // namespace

Status layer_norm_forward(const NormShape& shape, const Bfloat16* x, const Bfloat16* add, const Bfloat16* weight,
                          const Bfloat16* bias, Bfloat16* sum, Bfloat16* y, float* mean, float* scale,
                          CudaStream stream) {
  return forward<true>("layer_norm_forward", {shape, x, add, weight, bias, sum, y, mean, scale}, stream);
}

Status rms_norm_forward(const NormShape& shape, const Bfloat16* x, const Bfloat16* add, const Bfloat16* weight,
                        Bfloat16* sum, Bfloat16* y, float* scale, CudaStream stream) {
  return forward<false>("rms_norm_forward", {shape, x, add, weight, nullptr, sum, y, nullptr, scale}, stream);
}

Status norm_again(const NormShape& shape, const Bfloat16* h, const Bfloat16* weight, const Bfloat16* bias,
                  const float* mean, const float* scale, Bfloat16* y, CudaStream stream) {
  RETURN_IF_ERROR(check(shape));
  const auto blocks = static_cast<unsigned>((shape.rows + kForwardRows - 1) / kForwardRows);
  const Forward p{shape, h, nullptr, weight, bias, nullptr, y, const_cast<float*>(mean), const_cast<float*>(scale)};
  return launch("norm_again", mean != nullptr ? again_kernel<true> : again_kernel<false>,
                {blocks, kForwardRows * kWarp}, stream, p);
}

size_t norm_backward_scratch(const NormShape& shape) { return kSumsMax * backward_blocks(shape) * shape.width; }

Status layer_norm_backward(const NormShape& shape, const Bfloat16* h, const Bfloat16* weight, const float* mean,
                           const float* scale, const Bfloat16* dy, bool is_first, Bfloat16* dh, float* dweight,
                           float* dbias, float* dh_sum, float* scratch, CudaStream stream) {
  const Backward p{shape, 0, h, weight, mean, scale, dy, is_first, dh, scratch};
  if (dh_sum == nullptr) return backward<Sums::kCentred>("layer_norm_backward", p, {dweight, dbias}, stream);
  return backward<Sums::kSummed>("layer_norm_backward", p, {dweight, dbias, dh_sum}, stream);
}

Status rms_norm_backward(const NormShape& shape, const Bfloat16* h, const Bfloat16* weight, const float* scale,
                         const Bfloat16* dy, bool is_first, Bfloat16* dh, float* dweight, float* scratch,
                         CudaStream stream) {
  return backward<Sums::kScaled>("rms_norm_backward", {shape, 0, h, weight, nullptr, scale, dy, is_first, dh, scratch},
                                 {dweight}, stream);
}

}  // namespace freshet::cuda
