// From lookups and their gradients to moved rows. The lookups are sorted by row; a row's lookups are a run, and a run
// is cut into pieces of kPiece from its own beginning. pieces_kernel adds the pieces up: a warp looks after 32 places
// of the sorted list, of which those where a piece begins have work. A run of one piece (nearly all) moves its row at
// once. The sums of longer runs' pieces go to scratch memory, and long_runs_kernel adds them with a block a run, so
// that a row that half of the examples name costs no more than many that few do.
#include <algorithm>
#include <bit>

#include "kernels/cuda/embedding_bag.h"
#include "kernels/cuda/few.cuh"
#include "kernels/cuda/radix_sort.h"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kThreads = 256, kWarps = kThreads / kWarp;
constexpr unsigned kPiece = kWarp;  // lookups
constexpr unsigned kChunk = 1024;   // places of the sorted list in which a block looks for long runs
constexpr unsigned kLongMax = kChunk / (kPiece + 1) + 1;
constexpr size_t kLookupsMax = (size_t{1} << 31) - kChunk;

struct Sorted {
  const uint32_t* rows;    // ascending
  const uint32_t* places;  // example << 8 | feature
  uint32_t count;
  uint32_t no_row;
};

struct Adagrad {
  float learning_rate, epsilon;
  EmbeddingStep step;
};

// Row or no_row behind the end.
__device__ __forceinline__ uint32_t row_at(const Sorted& sorted, uint32_t i) {
  return i < sorted.count ? sorted.rows[i] : sorted.no_row;
}

// Where the sum of the piece that begins at `i` lies. Pieces after which their run goes on are kPiece places apart, and
// so are the last pieces of long runs.
__device__ __forceinline__ size_t piece_slot(uint32_t i, bool is_last) {
  return static_cast<size_t>(i / kPiece) * 2 + (is_last ? 1 : 0);
}

// The smallest x in [low, high] that `is_behind`, as high and all between are. The whole warp calls and gets it.
template <class IsBehind>
__device__ __forceinline__ uint32_t first_behind(uint32_t low, uint32_t high, unsigned lane, IsBehind is_behind) {
  while (low < high) {
    const uint32_t step = (high - low + kWarp - 1) / kWarp, x = low + lane * step;
    const unsigned behind = __ballot_sync(kFullMask, x >= high || is_behind(x));
    // Lane 0 stands at `low`; the lanes that are behind are the last ones.
    const auto before = static_cast<uint32_t>(kWarp) - static_cast<uint32_t>(__popc(behind));
    const uint32_t above = low + before * step;
    if (before > 0) low += (before - 1) * step + 1;
    high = above < high ? above : high;
  }
  return high;
}

// The row of the feature that a place names.
struct Target {
  float* row;
  float* sum;
  uint32_t dim, column;
};

__device__ __forceinline__ Target target_of(const EmbeddingFeature* features, uint32_t place, uint32_t row) {
  const EmbeddingFeature& feature = features[place & 0xFF];
  const uint32_t own = row - feature.first_row;
  return {feature.table + static_cast<size_t>(own) * feature.dim, feature.sums + own, feature.dim, feature.column};
}

template <unsigned kFew>
__device__ __forceinline__ void move(const Target& target, unsigned d, const float (&gradient)[kFew], float scale,
                                     float (&values)[kFew]) {
#pragma unroll
  for (unsigned c = 0; c < kFew; ++c) values[c] -= scale * gradient[c];
  store_few(values, target.row + d);
}

// Adds a step's gradient to AdaGrad's sum and gives what it is multiplied by. One thread a row.
__device__ __forceinline__ float scale_of(const Adagrad& adagrad, const Target& target, float old_sum, float squares) {
  const float* factor = adagrad.step.learning_rate_factor;
  const float learning_rate = factor == nullptr ? adagrad.learning_rate : adagrad.learning_rate * *factor;
  const float total = old_sum + squares / static_cast<float>(target.dim);
  *target.sum = total;
  return learning_rate / (sqrtf(total) + adagrad.epsilon);
}

// kLanes lanes hold a row, so that a warp works on kWarp / kLanes pieces at a time.
template <class Gradient, unsigned kFew, unsigned kLanes>
__global__ void __launch_bounds__(kThreads)
    pieces_kernel(const EmbeddingFeature* __restrict__ features, Sorted sorted, const Gradient* __restrict__ gradients,
                  size_t stride, Adagrad adagrad, float* __restrict__ pieces, unsigned piece_stride) {
  if (adagrad.step.is_applied != nullptr && *adagrad.step.is_applied == 0) return;
  const unsigned lane = threadIdx.x % kWarp, group = lane / kLanes, part = lane % kLanes;
  const uint32_t base = (blockIdx.x * kWarps + threadIdx.x / kWarp) * kWarp, i = base + lane;
  if (row_at(sorted, base) >= sorted.no_row) return;
  // The rows and places of this part of the list and of the next, into which its pieces reach.
  const uint32_t row = row_at(sorted, i), next_row = row_at(sorted, i + kPiece);
  const uint32_t place = i < sorted.count ? sorted.places[i] : 0;
  const uint32_t next_place = i + kPiece < sorted.count ? sorted.places[i + kPiece] : 0;
  uint32_t before = __shfl_up_sync(kFullMask, row, 1U);
  uint32_t next_before = __shfl_up_sync(kFullMask, next_row, 1U);
  const uint32_t last_row = __shfl_sync(kFullMask, row, kWarp - 1);
  if (lane == 0) {
    before = base == 0 ? sorted.no_row : sorted.rows[base - 1];
    next_before = last_row;
  }
  const unsigned heads = __ballot_sync(kFullMask, row != before);
  const unsigned next_heads = __ballot_sync(kFullMask, next_row != next_before);
  const uint64_t all_heads = static_cast<uint64_t>(next_heads) << kWarp | heads;

  // Where the run begins that the warp's first place is of: mostly not far.
  uint32_t start = base;
  if ((heads & 1) == 0) {
    const uint32_t first = __shfl_sync(kFullMask, row, 0), close = base - kWarp;
    const bool is_close = sorted.rows[close] != first;
    start = first_behind(is_close ? close : 0, is_close ? base : close, lane,
                         [&](uint32_t x) { return sorted.rows[x] == first; });
  }
  const unsigned own_heads = heads & (kFullMask >> (kWarp - 1 - lane));
  if (own_heads != 0) start = base + kWarp - 1 - static_cast<unsigned>(__clz(static_cast<int>(own_heads)));
  const bool goes_on = next_row == row;
  const unsigned going_on = __ballot_sync(kFullMask, goes_on);
  const unsigned whole = __ballot_sync(kFullMask, start == i && !goes_on);
  unsigned left = __ballot_sync(kFullMask, row < sorted.no_row && (i - start) % kPiece == 0);

  while (left != 0) {
    // Each group takes one of the pieces that are left, or none; lanes without one go along.
    unsigned own = left;
    for (unsigned g = 0; g < group; ++g) own &= own - 1;
    for (unsigned g = 0; g < kWarp / kLanes; ++g) left &= left - 1;
    const bool has_piece = own != 0;
    const unsigned from = has_piece ? static_cast<unsigned>(__ffs(static_cast<int>(own))) - 1 : 0;
    const bool is_whole = has_piece && (whole >> from & 1) != 0;
    const uint32_t own_row = __shfl_sync(kFullMask, row, static_cast<int>(from));
    const uint32_t own_place = __shfl_sync(kFullMask, place, static_cast<int>(from));
    const Target target = target_of(features, own_place, own_row);
    // Up to the next head, which may be behind both parts.
    const auto heads_behind = static_cast<unsigned>(all_heads >> from >> 1);
    unsigned length = heads_behind == 0 ? kPiece : static_cast<unsigned>(__ffs(static_cast<int>(heads_behind)));
    if (!has_piece) length = 0;
    unsigned longest = length;
#pragma unroll
    for (unsigned distance = kLanes; distance < kWarp; distance *= 2) {
      longest = max(longest, __shfl_xor_sync(kFullMask, longest, static_cast<int>(distance)));
    }

    auto gradient_of = [&](uint32_t at, unsigned d, float(&values)[kFew]) {
      load_few(gradients + static_cast<size_t>(at >> 8) * stride + target.column + d, values);
    };
    // The sum of the piece's gradients in their order, of kFew dimensions; all lanes call.
    auto add_up = [&](unsigned d, float(&sums)[kFew]) {
      const bool is_in = d < target.dim && has_piece;
      if (is_in) gradient_of(own_place, d, sums);
      for (unsigned t = 1; t < longest; t += 4) {
        float values[4][kFew] = {};
#pragma unroll
        for (unsigned k = 0; k < 4; ++k) {
          const unsigned at = from + t + k;
          const uint32_t low = __shfl_sync(kFullMask, place, static_cast<int>(at % kWarp));
          const uint32_t high = __shfl_sync(kFullMask, next_place, static_cast<int>(at % kWarp));
          if (is_in && t + k < length) gradient_of(at < kWarp ? low : high, d, values[k]);
        }
#pragma unroll
        for (unsigned k = 0; k < 4; ++k) {
#pragma unroll
          for (unsigned c = 0; c < kFew; ++c) sums[c] += values[k][c];
        }
      }
    };
    auto squares_of = [](const float(&sums)[kFew]) {
      float squares = 0;
#pragma unroll
      for (unsigned c = 0; c < kFew; ++c) squares += sums[c] * sums[c];
      return squares;
    };

    const unsigned d = part * kFew;
    float sums[kFew] = {}, values[kFew] = {};
    float old_sum = 0;
    if (is_whole && d < target.dim) load_few(target.row + d, values);
    if (is_whole && part == 0) old_sum = *target.sum;
    add_up(d, sums);
    float squares = squares_of(sums);
    // Rows that are wider than a warp: what lies behind its first part is added up twice rather than kept.
    constexpr unsigned kStride = kLanes * kFew;
    if constexpr (kLanes == kWarp) {
      for (unsigned begin = kStride; begin < target.dim; begin += kStride) {
        float more[kFew] = {};
        add_up(begin + d, more);
        squares += squares_of(more);
      }
    }
#pragma unroll
    for (unsigned distance = kLanes / 2; distance > 0; distance /= 2) {
      squares += __shfl_xor_sync(kFullMask, squares, static_cast<int>(distance));
    }
    float scale = is_whole && part == 0 ? scale_of(adagrad, target, old_sum, squares) : 0;
    scale = __shfl_sync(kFullMask, scale, static_cast<int>(group * kLanes));
    float* to = pieces + piece_slot(base + from, (going_on >> from & 1) == 0) * piece_stride;
    auto finish = [&](unsigned at, const float(&gradient)[kFew], float(&old)[kFew]) {
      if (!has_piece || at >= target.dim) return;
      if (is_whole) {
        move(target, at, gradient, scale, old);
      } else {
        store_few(gradient, to + at);
      }
    };
    finish(d, sums, values);
    if constexpr (kLanes == kWarp) {
      for (unsigned begin = kStride; begin < target.dim; begin += kStride) {
        float more[kFew] = {};
        add_up(begin + d, more);
        if (is_whole && begin + d < target.dim) load_few(target.row + begin + d, values);
        finish(begin + d, more, values);
      }
    }
  }
}

template <unsigned kFew>
__global__ void __launch_bounds__(kThreads)
    long_runs_kernel(const EmbeddingFeature* __restrict__ features, Sorted sorted, Adagrad adagrad,
                     const float* __restrict__ pieces, unsigned piece_stride) {
  if (adagrad.step.is_applied != nullptr && *adagrad.step.is_applied == 0) return;
  constexpr unsigned kStride = kWarp * kFew;
  __shared__ uint32_t starts[kLongMax];
  __shared__ unsigned found;
  float* parts = dynamic_shared<float>();      // [kWarps][kStride]
  float* gradient = parts + kWarps * kStride;  // [dim]
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  if (threadIdx.x == 0) found = 0;
  __syncthreads();
  for (uint32_t i = blockIdx.x * kChunk + threadIdx.x; i < (blockIdx.x + 1) * kChunk; i += kThreads) {
    const uint32_t row = row_at(sorted, i);
    const bool is_head = row < sorted.no_row && (i == 0 || sorted.rows[i - 1] != row);
    // In any order: the runs have nothing to do with each other.
    if (is_head && row_at(sorted, i + kPiece) == row) starts[atomicAdd(&found, 1U)] = i;
  }
  __syncthreads();
  const unsigned runs = found;
  for (unsigned n = 0; n < runs; ++n) {
    const uint32_t start = starts[n], row = sorted.rows[start];
    const uint32_t count = first_behind(1, (sorted.count - start + kPiece - 1) / kPiece, lane,
                                        [&](uint32_t p) { return row_at(sorted, start + p * kPiece) != row; });
    const Target target = target_of(features, sorted.places[start], row);
    float squares = 0;
    for (unsigned begin = 0; begin < target.dim; begin += kStride) {
      const unsigned d = begin + lane * kFew;
      float sums[kFew] = {};
      if (d < target.dim) {
#pragma unroll 4
        for (uint32_t p = warp; p < count; p += kWarps) {
          float values[kFew];
          load_few(pieces + piece_slot(start + p * kPiece, p + 1 == count) * piece_stride + d, values);
#pragma unroll
          for (unsigned c = 0; c < kFew; ++c) sums[c] += values[c];
        }
      }
      store_few(sums, parts + warp * kStride + lane * kFew);
      __syncthreads();
      if (warp == 0 && d < target.dim) {
        for (unsigned w = 1; w < kWarps; ++w) {
          float values[kFew];
          load_few(parts + w * kStride + lane * kFew, values);
#pragma unroll
          for (unsigned c = 0; c < kFew; ++c) sums[c] += values[c];
        }
#pragma unroll
        for (unsigned c = 0; c < kFew; ++c) squares += sums[c] * sums[c];
        store_few(sums, gradient + d);
      }
      __syncthreads();
    }
    if (warp != 0) continue;
    squares = warp_sum(squares);
    float scale = lane == 0 ? scale_of(adagrad, target, *target.sum, squares) : 0;
    scale = __shfl_sync(kFullMask, scale, 0);
    // Each lane reads what it has written.
    for (unsigned d = lane * kFew; d < target.dim; d += kStride) {
      float sums[kFew], values[kFew];
      load_few(gradient + d, sums);
      load_few(target.row + d, values);
      move(target, d, sums, scale, values);
    }
  }
}

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

// What lies in scratch memory, one after the other.
struct Scratch {
  size_t list, pieces, sort;  // bytes; the sorted list is two such
  size_t total() const { return 2 * list + pieces + sort; }
};

struct Sizes {
  size_t count;           // lookups of a step
  unsigned bits;          // of a row, no_row included
  unsigned piece_stride;  // floats
};

Sizes sizes_of(const EmbeddingShape& shape) {
  return {shape.lookups * shape.slots, static_cast<unsigned>(std::bit_width(shape.table_rows)),
          static_cast<unsigned>((shape.dim_max + 3) / 4 * 4)};
}

Result<Scratch> scratch_of(const EmbeddingShape& shape) {
  const Sizes sizes = sizes_of(shape);
  Scratch scratch{};
  scratch.list = aligned(sizes.count * sizeof(uint32_t));
  scratch.pieces = aligned((sizes.count / kPiece + 1) * 2 * sizes.piece_stride * sizeof(float));
  ASSIGN_OR_RETURN(scratch.sort, radix_sort_scratch(sizes.count, sizes.bits));
  return scratch;
}

template <class Gradient>
auto pieces_kernel_for(const EmbeddingShape& shape) {
  if (!shape.by_fours) return pieces_kernel<Gradient, 1, 32>;
  if (shape.dim_max <= 16) return pieces_kernel<Gradient, 4, 4>;
  if (shape.dim_max <= 32) return pieces_kernel<Gradient, 4, 8>;
  return shape.dim_max <= 64 ? pieces_kernel<Gradient, 4, 16> : pieces_kernel<Gradient, 4, 32>;
}

template <class Gradient>
Status update(const EmbeddingShape& shape, const EmbeddingFeature* features, const EmbeddingLookups& lookups,
              const Gradient* gradients, size_t stride, const kernels::RowwiseAdagradStep& adagrad,
              const EmbeddingStep& step, std::byte* scratch, CudaStream stream) {
  const Sizes sizes = sizes_of(shape);
  if (sizes.count == 0) return Status::ok();
  if (sizes.count > kLookupsMax) return invalid_argument("a step has more than 2^31 lookups in embedding tables");
  ASSIGN_OR_RETURN(const Scratch parts, scratch_of(shape));
  auto* rows = reinterpret_cast<uint32_t*>(scratch);
  auto* places = reinterpret_cast<uint32_t*>(scratch + parts.list);
  auto* pieces = reinterpret_cast<float*>(scratch + 2 * parts.list);
  RETURN_IF_ERROR(radix_sort_pairs(sizes.count, sizes.bits, lookups.rows, lookups.places, rows, places,
                                   scratch + 2 * parts.list + parts.pieces, parts.sort, stream));
  const auto count = static_cast<uint32_t>(sizes.count);
  const Sorted sorted{rows, places, count, static_cast<uint32_t>(shape.table_rows)};
  const Adagrad how{adagrad.learning_rate, adagrad.epsilon, step};
  RETURN_IF_ERROR(launch("embedding_bag_pieces", pieces_kernel_for<Gradient>(shape),
                         {(count + kThreads - 1) / kThreads, kThreads}, stream, features, sorted, gradients, stride,
                         how, pieces, sizes.piece_stride));
  const unsigned few = shape.by_fours ? 4 : 1;
  const size_t shared = (kWarps * kWarp * few + sizes.piece_stride) * sizeof(float);
  return launch("embedding_bag_long_runs", few == 4 ? long_runs_kernel<4> : long_runs_kernel<1>,
                {(count + kChunk - 1) / kChunk, kThreads, shared}, stream, features, sorted, how, pieces,
                sizes.piece_stride);
}

}  // namespace

Result<size_t> embedding_bag_update_scratch(const EmbeddingShape& shape) {
  ASSIGN_OR_RETURN(const Scratch scratch, scratch_of(shape));
  return scratch.total();
}

Status embedding_bag_update(const EmbeddingShape& shape, const EmbeddingFeature* features,
                            const EmbeddingLookups& lookups, const float* gradients, size_t stride,
                            const kernels::RowwiseAdagradStep& adagrad, const EmbeddingStep& step, std::byte* scratch,
                            CudaStream stream) {
  return update(shape, features, lookups, gradients, stride, adagrad, step, scratch, stream);
}

Status embedding_bag_update(const EmbeddingShape& shape, const EmbeddingFeature* features,
                            const EmbeddingLookups& lookups, const Bfloat16* gradients, size_t stride,
                            const kernels::RowwiseAdagradStep& adagrad, const EmbeddingStep& step, std::byte* scratch,
                            CudaStream stream) {
  return update(shape, features, lookups, gradients, stride, adagrad, step, scratch, stream);
}

}  // namespace freshet::cuda
