// Version 1 of the forward pass. A block makes 128 rows of one head's result; a warp owns 32 of them (16 for heads of
// 128), so that a fragment of k or v serves two fragments of q. It goes through the tiles of 64 keys from the diagonal
// down to the first; while it works on one, cp.async brings the next. Only tiles that the diagonal crosses are masked.
#include <cmath>

#include "kernels/cuda/attention_softmax.cuh"
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/attention_versions.h"

namespace freshet::cuda {
namespace {

constexpr int kRows = 128, kColumns = 64;

template <int kSize>
constexpr int kWarps = kSize == 64 ? 4 : 8;
template <int kSize>
constexpr size_t kSharedBytes = (kRows + 4 * kColumns) * kSize * sizeof(Bfloat16);

struct Arguments {
  const Bfloat16 *q, *k, *v;
  Bfloat16* out;
  float* log_sum;
  size_t stride, out_stride;
  int length, group;
  float scale;  // of a score, in base 2
};

template <int kSize>
__global__ void __launch_bounds__(kWarps<kSize> * 32, kSize == 64 ? 2 : 1)
    attention_forward_kernel(const Arguments arguments) {
  constexpr int kThreads = kWarps<kSize> * 32, kWarpRows = kRows / kWarps<kSize>, kFragments = kWarpRows / 16;
  constexpr int kTile = kColumns * kSize;
  Bfloat16* q_tile = dynamic_shared<Bfloat16>();
  Bfloat16* k_tiles = q_tile + kRows * kSize;
  Bfloat16* v_tiles = k_tiles + 2 * kTile;

  const int length = arguments.length, first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kRows;
  const unsigned head = blockIdx.y, kv_head = head / static_cast<unsigned>(arguments.group);
  const size_t token = static_cast<size_t>(blockIdx.z) * static_cast<size_t>(length);
  const Bfloat16* q = arguments.q + (token + first) * arguments.stride + head * kSize;
  const Bfloat16* k = arguments.k + token * arguments.stride + kv_head * kSize;
  const Bfloat16* v = arguments.v + token * arguments.stride + kv_head * kSize;
  auto copy_keys = [&](int tile) {
    const size_t skipped = static_cast<size_t>(tile) * kColumns * arguments.stride;
    const int rows_left = length - tile * kColumns;
    copy_tile_async<kSize, kColumns, kThreads>(k_tiles + tile % 2 * kTile, k + skipped, arguments.stride, rows_left);
    copy_tile_async<kSize, kColumns, kThreads>(v_tiles + tile % 2 * kTile, v + skipped, arguments.stride, rows_left);
    commit_copies();
  };
  const int last_tile = (min(first + kRows, length) - 1) / kColumns;
  copy_tile_async<kSize, kRows, kThreads>(q_tile, q, arguments.stride, length - first);
  copy_keys(last_tile);

  const LaneOffsets<kSize> lane;
  const int warp_row = static_cast<int>(threadIdx.x / 32) * kWarpRows, warp_first = first + warp_row;
  unsigned q_fragments[kFragments][kSize == 64 ? kSize / 16 : 1][4];  // of heads of 128 they are read again and again
  float out[kFragments][kSize / 8][4] = {};
  RowSums rows[kFragments];

  for (int tile = last_tile; tile >= 0; --tile) {
    wait_for_copies<0>();
    __syncthreads();  // the tile is there, and nobody reads the one before
    if (tile > 0) copy_keys(tile - 1);
    if (kSize == 64 && tile == last_tile) {
#pragma unroll
      for (int i = 0; i < kFragments * kSize / 16; ++i) {
        load_a<kSize>(q_fragments[i % kFragments][kSize == 64 ? i / kFragments : 0], q_tile, lane,
                      warp_row + i % kFragments * 16, i / kFragments);
      }
    }
    const int column = tile * kColumns;
    if (column > warp_first + kWarpRows - 1) continue;  // above the diagonal

    float scores[kFragments][kColumns / 8][4] = {};
    multiply_by_transpose<kSize, kFragments, kColumns / 16>(
        scores,
        [&](int step, unsigned(&a)[kFragments][4]) {
#pragma unroll
          for (int f = 0; f < kFragments; ++f) {
            if constexpr (kSize == 64) {
#pragma unroll
              for (int i = 0; i < 4; ++i) a[f][i] = q_fragments[f][step][i];
            } else {
              load_a<kSize>(a[f], q_tile, lane, warp_row + 16 * f, step);
            }
          }
        },
        k_tiles + tile % 2 * kTile, lane, 0);

    unsigned p[kFragments][kColumns / 16][4];
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
      if (column + kColumns - 1 > warp_first) mask_scores(scores[f], warp_first + 16 * f, column);
      add_tile(rows[f], arguments.scale, scores[f], out[f]);
#pragma unroll
      for (int n = 0; n < kColumns / 16; ++n) narrow_fragments(p[f][n], scores[f][2 * n], scores[f][2 * n + 1]);
    }
    multiply<kSize, kFragments, kColumns / 16>(out, p, v_tiles + tile % 2 * kTile, lane, 0);
  }

  float factors[kFragments][2];
#pragma unroll
  for (int f = 0; f < kFragments; ++f) {
    float log_sums[2];
    end_rows(rows[f], arguments.scale, factors[f], log_sums);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = warp_first + 16 * f + 8 * half + static_cast<int>(threadIdx.x % 32 / 4);
      if (threadIdx.x % 4 == 0 && row < length) {
        arguments.log_sum[(static_cast<size_t>(blockIdx.z) * gridDim.y + head) * static_cast<size_t>(length) + row] =
            log_sums[half];
      }
    }
  }
  store_rows<kSize, kFragments>(out, factors, q_tile, static_cast<unsigned>(warp_row),
                                arguments.out + (token + first) * arguments.out_stride + head * kSize,
                                arguments.out_stride, length - first);
}

template <int kSize>
Status start(const AttentionForward& call, CudaStream stream) {
  const AttentionShape& shape = call.shape;
  const dim3 grid(static_cast<unsigned>((shape.length + kRows - 1) / kRows), static_cast<unsigned>(shape.heads),
                  static_cast<unsigned>(shape.sequences));
  const Arguments arguments{call.q,
                            call.k,
                            call.v,
                            call.out,
                            call.log_sum,
                            shape.stride,
                            shape.out_stride,
                            static_cast<int>(shape.length),
                            static_cast<int>(shape.heads / shape.kv_heads),
                            static_cast<float>(std::log2(std::exp(1.0)) / std::sqrt(static_cast<double>(kSize)))};
  return launch("attention_forward", attention_forward_kernel<kSize>, {grid, kWarps<kSize> * 32, kSharedBytes<kSize>},
                stream, arguments);
}

}  // namespace

Status attention_forward_mma(const AttentionForward& call, CudaStream stream) {
  return call.shape.size == 64 ? start<64>(call, stream) : start<128>(call, stream);
}

}  // namespace freshet::cuda
