// Version 1 of the backward pass: two kernels that both make the scores again, so that each result is summed in the
// registers of one block and no sum crosses blocks: seven products instead of five, and no atomics. With p the
// probabilities (Dao, 2023, algorithm 2): dv = p^T dout, ds = p * (dout v^T - delta), dq = ds k, dk = ds^T q.
// - keys: a block makes 128 rows of dk and dv of one key-value head, over the group's heads and their tiles of queries
//   from the diagonal on. It works on transposed scores, so that p^T and ds^T are operands where they are made.
// - queries: a block makes 128 rows of dq, over the tiles of keys up to the diagonal.
// A warp owns 32 rows (16 for heads of 128) and makes 32 columns of scores at a time. cp.async brings the next tiles.
#include <cmath>

#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/attention_versions.h"
#include "kernels/cuda/exp2.cuh"

namespace freshet::cuda {
namespace {

constexpr int kRows = 128, kStep = 32;  // rows of a block; columns of scores at a time

template <int kSize>
constexpr int kWarps = kSize == 64 ? 4 : 8;
// Columns of a tile: of queries in the kernel for keys, of keys in that for queries.
template <int kSize>
constexpr int kColumns = kSize == 64 ? 64 : 32;
// Two tiles of rows, two of columns in two stages, and the statistics of the columns.
template <int kSize>
constexpr size_t kSharedBytes =
    (2 * kRows + 4 * kColumns<kSize>)*kSize * sizeof(Bfloat16) + 4 * kColumns<kSize> * sizeof(float);

struct Arguments {
  const Bfloat16 *q, *k, *v, *dout;
  const float *log2_sum, *delta;
  Bfloat16 *dq, *dk, *dv;
  size_t stride, out_stride;
  int length, padded, heads, group;
  float scale, scale_log2;  // of a score; in base 2
};

template <int kSize>
struct Warp {
  static constexpr int kThreads = kWarps<kSize> * 32, kRows = cuda::kRows / kWarps<kSize>, kFragments = kRows / 16;
  using Scores = float[kFragments][kStep / 8][4];
  using Result = float[kFragments][kSize / 8][4];
  using Operand = unsigned[kFragments][kStep / 16][4];
};

template <int kFragments>
__device__ __forceinline__ void narrow_scores(unsigned (&a)[kFragments][kStep / 16][4],
                                              const float (&scores)[kFragments][kStep / 8][4]) {
#pragma unroll
  for (int f = 0; f < kFragments; ++f) {
#pragma unroll
    for (int n = 0; n < kStep / 16; ++n) narrow_fragments(a[f][n], scores[f][2 * n], scores[f][2 * n + 1]);
  }
}

template <int kSize>
__global__ void __launch_bounds__(kWarps<kSize> * 32, kSize == 64 ? 2 : 1)
    attention_backward_keys_kernel(const Arguments arguments) {
  using W = Warp<kSize>;
  constexpr int kThreads = W::kThreads, kTileRows = kColumns<kSize>, kTile = kTileRows * kSize;
  Bfloat16* k_tile = dynamic_shared<Bfloat16>();
  Bfloat16* v_tile = k_tile + kRows * kSize;
  Bfloat16* q_tiles = v_tile + kRows * kSize;
  Bfloat16* dout_tiles = q_tiles + 2 * kTile;
  float* statistics = reinterpret_cast<float*>(dout_tiles + 2 * kTile);  // of a stage: log_sum, then delta

  const int length = arguments.length, first = static_cast<int>(blockIdx.x) * kRows;
  const int first_tile = first / kTileRows, tiles = (length + kTileRows - 1) / kTileRows - first_tile;
  const int steps = tiles * arguments.group;
  const size_t token = static_cast<size_t>(blockIdx.z) * static_cast<size_t>(length);
  const size_t own = (token + first) * arguments.stride + blockIdx.y * kSize;
  copy_tile_async<kSize, kRows, kThreads>(k_tile, arguments.k + own, arguments.stride, length - first);
  copy_tile_async<kSize, kRows, kThreads>(v_tile, arguments.v + own, arguments.stride, length - first);
  auto copy_queries = [&](int step) {
    const int head = static_cast<int>(blockIdx.y) * arguments.group + step / tiles, stage = step % 2;
    const int row = (first_tile + step % tiles) * kTileRows;
    copy_tile_async<kSize, kTileRows, kThreads>(q_tiles + stage * kTile,
                                                arguments.q + (token + row) * arguments.stride + head * kSize,
                                                arguments.stride, length - row);
    copy_tile_async<kSize, kTileRows, kThreads>(dout_tiles + stage * kTile,
                                                arguments.dout + (token + row) * arguments.out_stride + head * kSize,
                                                arguments.out_stride, length - row);
    constexpr unsigned kPieces = kTileRows / 4;  // of 16 bytes of floats
    if (threadIdx.x < 2 * kPieces) {
      const float* from = threadIdx.x < kPieces ? arguments.log2_sum : arguments.delta;
      from += (static_cast<size_t>(blockIdx.z) * static_cast<size_t>(arguments.heads) + head) *
                  static_cast<size_t>(arguments.padded) +
              row + threadIdx.x % kPieces * 4;
      copy16_async(statistics + stage * 2 * kTileRows + threadIdx.x * 4, from, true);
    }
    commit_copies();
  };
  copy_queries(0);

  const LaneOffsets<kSize> lane;
  const int warp_row = static_cast<int>(threadIdx.x / 32) * W::kRows, warp_first = first + warp_row;
  const int lane_row = static_cast<int>(threadIdx.x % 32 / 4), lane_column = static_cast<int>(threadIdx.x % 4) * 2;
  typename W::Result dk = {}, dv = {};
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<0>();
    __syncthreads();  // the tiles are there, and nobody reads the ones before
    if (step + 1 < steps) copy_queries(step + 1);
    const Bfloat16* q_tile = q_tiles + step % 2 * kTile;
    const Bfloat16* dout_tile = dout_tiles + step % 2 * kTile;
    const float* log2_sum = statistics + step % 2 * 2 * kTileRows + lane_column;
    const float* delta = log2_sum + kTileRows;
#pragma unroll 1
    for (int at = 0; at < kTileRows; at += kStep) {
      const int column = (first_tile + step % tiles) * kTileRows + at;  // the first query
      if (column + kStep - 1 < warp_first) continue;                    // above the diagonal
      typename W::Scores p = {}, ds = {};
      auto load_rows_of = [&](const Bfloat16* tile) {
        return [=](int k, unsigned(&a)[W::kFragments][4]) {
#pragma unroll
          for (int f = 0; f < W::kFragments; ++f) load_a<kSize>(a[f], tile, lane, warp_row + 16 * f, k);
        };
      };
      multiply_by_transpose<kSize, W::kFragments, kStep / 16>(p, load_rows_of(k_tile), q_tile, lane, at);
      multiply_by_transpose<kSize, W::kFragments, kStep / 16>(ds, load_rows_of(v_tile), dout_tile, lane, at);
      const bool masked = column < warp_first + W::kRows - 1;
#pragma unroll
      for (int n = 0; n < kStep / 8; ++n) {
        const float2 sums = *reinterpret_cast<const float2*>(log2_sum + at + 8 * n);
        const float2 deltas = *reinterpret_cast<const float2*>(delta + at + 8 * n);
#pragma unroll
        for (int f = 0; f < W::kFragments; ++f) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float& probability = p[f][n][i];
            probability = exp2_approximate(probability * arguments.scale_log2 - (i % 2 == 0 ? sums.x : sums.y));
            if (masked && column + 8 * n + lane_column + i % 2 < warp_first + 16 * f + lane_row + i / 2 * 8) {
              probability = 0;
            }
            ds[f][n][i] = probability * (ds[f][n][i] - (i % 2 == 0 ? deltas.x : deltas.y));
          }
        }
      }
      typename W::Operand operand;
      narrow_scores<W::kFragments>(operand, p);
      multiply<kSize, W::kFragments, kStep / 16>(dv, operand, dout_tile, lane, at);
      narrow_scores<W::kFragments>(operand, ds);
      multiply<kSize, W::kFragments, kStep / 16>(dk, operand, q_tile, lane, at);
    }
  }

  float factors[W::kFragments][2];
#pragma unroll
  for (int f = 0; f < W::kFragments; ++f) factors[f][0] = factors[f][1] = 1;
  store_rows<kSize, W::kFragments>(dv, factors, v_tile, static_cast<unsigned>(warp_row), arguments.dv + own,
                                   arguments.stride, length - first);
#pragma unroll
  for (int f = 0; f < W::kFragments; ++f) factors[f][0] = factors[f][1] = arguments.scale;
  store_rows<kSize, W::kFragments>(dk, factors, k_tile, static_cast<unsigned>(warp_row), arguments.dk + own,
                                   arguments.stride, length - first);
}

template <int kSize>
__global__ void __launch_bounds__(kWarps<kSize> * 32, kSize == 64 ? 2 : 1)
    attention_backward_queries_kernel(const Arguments arguments) {
  using W = Warp<kSize>;
  constexpr int kThreads = W::kThreads, kTileRows = kColumns<kSize>, kTile = kTileRows * kSize;
  Bfloat16* q_tile = dynamic_shared<Bfloat16>();
  Bfloat16* dout_tile = q_tile + kRows * kSize;
  Bfloat16* k_tiles = dout_tile + kRows * kSize;
  Bfloat16* v_tiles = k_tiles + 2 * kTile;

  const int length = arguments.length, first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kRows;
  const unsigned head = blockIdx.y, kv_head = head / static_cast<unsigned>(arguments.group);
  const size_t token = static_cast<size_t>(blockIdx.z) * static_cast<size_t>(length);
  const size_t own = (token + first) * arguments.stride + head * kSize;
  copy_tile_async<kSize, kRows, kThreads>(q_tile, arguments.q + own, arguments.stride, length - first);
  copy_tile_async<kSize, kRows, kThreads>(dout_tile,
                                          arguments.dout + (token + first) * arguments.out_stride + head * kSize,
                                          arguments.out_stride, length - first);
  auto copy_keys = [&](int tile) {
    const size_t from = (token + tile * kTileRows) * arguments.stride + kv_head * kSize;
    const int rows_left = length - tile * kTileRows;
    copy_tile_async<kSize, kTileRows, kThreads>(k_tiles + tile % 2 * kTile, arguments.k + from, arguments.stride,
                                                rows_left);
    copy_tile_async<kSize, kTileRows, kThreads>(v_tiles + tile % 2 * kTile, arguments.v + from, arguments.stride,
                                                rows_left);
    commit_copies();
  };
  const int tiles = (min(first + kRows, length) - 1) / kTileRows + 1;
  copy_keys(0);

  const LaneOffsets<kSize> lane;
  const int warp_row = static_cast<int>(threadIdx.x / 32) * W::kRows, warp_first = first + warp_row;
  const int lane_row = static_cast<int>(threadIdx.x % 32 / 4), lane_column = static_cast<int>(threadIdx.x % 4) * 2;
  float log2_sum[W::kFragments][2], delta[W::kFragments][2];
#pragma unroll
  for (int i = 0; i < 2 * W::kFragments; ++i) {
    const size_t at = (static_cast<size_t>(blockIdx.z) * gridDim.y + head) * static_cast<size_t>(arguments.padded) +
                      warp_first + lane_row + 8 * i;
    log2_sum[i / 2][i % 2] = arguments.log2_sum[at];
    delta[i / 2][i % 2] = arguments.delta[at];
  }
  unsigned q_fragments[kSize / 16][W::kFragments][4], dout_fragments[kSize / 16][W::kFragments][4];
  typename W::Result dq = {};
  for (int tile = 0; tile < tiles; ++tile) {
    wait_for_copies<0>();
    __syncthreads();  // the tiles are there, and nobody reads the ones before
    if (tile + 1 < tiles) copy_keys(tile + 1);
    if (tile == 0) {
#pragma unroll
      for (int k = 0; k < kSize / 16; ++k) {
#pragma unroll
        for (int f = 0; f < W::kFragments; ++f) {
          load_a<kSize>(q_fragments[k][f], q_tile, lane, warp_row + 16 * f, k);
          load_a<kSize>(dout_fragments[k][f], dout_tile, lane, warp_row + 16 * f, k);
        }
      }
    }
    const Bfloat16* k_tile = k_tiles + tile % 2 * kTile;
    const Bfloat16* v_tile = v_tiles + tile % 2 * kTile;
#pragma unroll 1
    for (int at = 0; at < kTileRows; at += kStep) {
      const int column = tile * kTileRows + at;          // the first key
      if (column > warp_first + W::kRows - 1) continue;  // above the diagonal
      typename W::Scores p = {}, ds = {};
      auto rows_of = [&](const unsigned(&fragments)[kSize / 16][W::kFragments][4]) {
        return [&fragments](int k, unsigned(&a)[W::kFragments][4]) {
#pragma unroll
          for (int i = 0; i < 4 * W::kFragments; ++i) a[i / 4][i % 4] = fragments[k][i / 4][i % 4];
        };
      };
      multiply_by_transpose<kSize, W::kFragments, kStep / 16>(p, rows_of(q_fragments), k_tile, lane, at);
      multiply_by_transpose<kSize, W::kFragments, kStep / 16>(ds, rows_of(dout_fragments), v_tile, lane, at);
      const bool masked = column + kStep - 1 > warp_first;
#pragma unroll
      for (int f = 0; f < W::kFragments; ++f) {
#pragma unroll
        for (int n = 0; n < kStep / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float probability = exp2_approximate(p[f][n][i] * arguments.scale_log2 - log2_sum[f][i / 2]);
            if (masked && column + 8 * n + lane_column + i % 2 > warp_first + 16 * f + lane_row + i / 2 * 8) {
              probability = 0;
            }
            ds[f][n][i] = probability * (ds[f][n][i] - delta[f][i / 2]);
          }
        }
      }
      typename W::Operand operand;
      narrow_scores<W::kFragments>(operand, ds);
      multiply<kSize, W::kFragments, kStep / 16>(dq, operand, k_tile, lane, at);
    }
  }

  float factors[W::kFragments][2];
#pragma unroll
  for (int f = 0; f < W::kFragments; ++f) factors[f][0] = factors[f][1] = arguments.scale;
  store_rows<kSize, W::kFragments>(dq, factors, q_tile, static_cast<unsigned>(warp_row), arguments.dq + own,
                                   arguments.stride, length - first);
}

template <int kSize>
Status start(const AttentionBackward& call, CudaStream stream) {
  const AttentionShape& shape = call.shape;
  const size_t padded = padded_length(shape);
  const double scale = 1 / std::sqrt(static_cast<double>(kSize));
  const Arguments arguments{call.q,
                            call.k,
                            call.v,
                            call.dout,
                            call.scratch,
                            call.scratch + shape.sequences * shape.heads * padded,
                            call.dq,
                            call.dk,
                            call.dv,
                            shape.stride,
                            shape.out_stride,
                            static_cast<int>(shape.length),
                            static_cast<int>(padded),
                            static_cast<int>(shape.heads),
                            static_cast<int>(shape.heads / shape.kv_heads),
                            static_cast<float>(scale),
                            static_cast<float>(scale * std::log2(std::exp(1.0)))};
  const unsigned tiles = static_cast<unsigned>(padded / kRows), sequences = static_cast<unsigned>(shape.sequences);
  RETURN_IF_ERROR(
      launch("attention_backward_keys", attention_backward_keys_kernel<kSize>,
             {{tiles, static_cast<unsigned>(shape.kv_heads), sequences}, Warp<kSize>::kThreads, kSharedBytes<kSize>},
             stream, arguments));
  return launch("attention_backward_queries", attention_backward_queries_kernel<kSize>,
                {{tiles, static_cast<unsigned>(shape.heads), sequences}, Warp<kSize>::kThreads, kSharedBytes<kSize>},
                stream, arguments);
}

}  // namespace

Status attention_backward_mma(const AttentionBackward& call, CudaStream stream) {
  return call.shape.size == 64 ? start<64>(call, stream) : start<128>(call, stream);
}

}  // namespace freshet::cuda
