// The softmax over a row that comes in tiles, on sums as the tensor cores leave them: of a warp's 16 rows, lane l holds
// row l / 4 in [0] and [1] of each fragment of 8 columns and row l / 4 + 8 in [2] and [3]; its columns are l % 4 * 2
// and the next. Powers are of 2; `scale` turns a score into its exponent.
#pragma once

#include "kernels/cuda/exp2.cuh"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {

// Hides the keys behind a query's own: `row` and `column` are those of the warp's first.
template <int kFragments>
__device__ __forceinline__ void mask_scores(float (&scores)[kFragments][4], int row, int column) {
  const int own_row = row + static_cast<int>(threadIdx.x % 32 / 4);
  const int own_column = column + static_cast<int>(threadIdx.x % 4) * 2;
#pragma unroll
  for (int n = 0; n < kFragments; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (own_column + 8 * n + i % 2 > own_row + i / 2 * 8) scores[n][i] = -INFINITY;
    }
  }
}

// Of the lane's two rows.
struct RowSums {
  float base[2] = {-INFINITY, -INFINITY};  // a score: the same in the four lanes that share a row
  float sum[2] = {};                       // of the powers relative to `base`: each lane's own part
};

// Turns the scores of the next tile into powers relative to `base`, which `out` and the sums are relative to as well.
// The base is a largest score, and moves on only when a power would be above 2^8 for one of the warp's rows: sums and
// results are as exact with any base, and most tiles need no look at `out` (Zadouri et al., "FlashAttention-4", 2026).
// A row's first tile must hold a score that is not masked.
template <int kFragments, int kOutFragments>
__device__ __forceinline__ void add_tile(RowSums& rows, float scale, float (&scores)[kFragments][4],
                                         float (&out)[kOutFragments][4]) {
  constexpr float kExponentMax = 8;
  float top[2];
  bool is_above = false;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    top[half] = scores[0][2 * half];
#pragma unroll
    for (int n = 0; n < kFragments; ++n) {
      top[half] = fmaxf(top[half], fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
    }
    top[half] = fmaxf(top[half], __shfl_xor_sync(kFullMask, top[half], 1));
    top[half] = fmaxf(top[half], __shfl_xor_sync(kFullMask, top[half], 2));
    is_above |= (top[half] - rows.base[half]) * scale > kExponentMax;
  }
  if (__any_sync(kFullMask, is_above)) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float base = fmaxf(rows.base[half], top[half]);
      const float shrink = exp2_approximate((rows.base[half] - base) * scale);
      rows.base[half] = base;
      rows.sum[half] *= shrink;
#pragma unroll
      for (int n = 0; n < kOutFragments; ++n) {
        out[n][2 * half] *= shrink;
        out[n][2 * half + 1] *= shrink;
      }
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float offset = rows.base[half] * scale;
    float added = 0;
#pragma unroll
    for (int n = 0; n < kFragments; ++n) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        scores[n][i] = exp2_approximate(scores[n][i] * scale - offset);
        added += scores[n][i];
      }
    }
    rows.sum[half] += added;
  }
}

// The factors that end the rows of `out`, and the logarithms of the whole sums of e^score.
__device__ __forceinline__ void end_rows(const RowSums& rows, float scale, float (&factors)[2], float (&log_sums)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float whole = rows.sum[half];
    whole += __shfl_xor_sync(kFullMask, whole, 1);
    whole += __shfl_xor_sync(kFullMask, whole, 2);
    constexpr float kLn2 = 0.693147180559945309F;
    factors[half] = 1 / whole;
    log_sums[half] = rows.base[half] * scale * kLn2 + logf(whole);
  }
}

}  // namespace freshet::cuda
