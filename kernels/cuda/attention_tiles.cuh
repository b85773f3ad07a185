// Tiles of tokens in shared memory, as the attention kernels read them into the fragments of mma.cuh. A tile is rows of
// `kSize` elements, in which the 16-byte piece c of row r lies at c ^ (r & 7): eight rows of one piece, which ldmatrix
// reads at once, lie in different banks, and so do the pairs of eight rows that a warp writes at once. A tile begins on
// a border of 1024 bytes.
#pragma once

#include "kernels/cuda/mma.cuh"

namespace freshet::cuda {

inline constexpr int kPiece = 8;  // elements in 16 bytes

template <int kSize>
__device__ __forceinline__ Bfloat16* piece_at(Bfloat16* tile, unsigned row, unsigned piece) {
  return tile + row * kSize + (piece ^ (row & 7)) * kPiece;
}

// Queues the copies of `kRows` rows by `kThreads` threads; rows from `rows_left` on become zero.
template <int kSize, int kRows, int kThreads>
__device__ __forceinline__ void copy_tile_async(Bfloat16* tile, const Bfloat16* from, size_t stride, int rows_left) {
  constexpr unsigned kPieces = kSize / kPiece, kAtOnce = kThreads / kPieces;
  static_assert(kRows % kAtOnce == 0);
  const unsigned row = threadIdx.x / kPieces, piece = threadIdx.x % kPieces;
#pragma unroll
  for (unsigned i = 0; i < kRows; i += kAtOnce) {
    const bool valid = static_cast<int>(row + i) < rows_left;
    copy16_async(piece_at<kSize>(tile, row + i, piece), valid ? from + (row + i) * stride + piece * kPiece : from,
                 valid);
  }
}

// Of the calling lane: where it points for the steps of ldmatrix. The piece that it reads at step k along a row is that
// of step 0 with 16 k exchanged (^) in the offset.
template <int kSize>
struct LaneOffsets {
  unsigned rows_first;    // 16 rows by 16 elements; matrices down the rows first
  unsigned pieces_first;  // the same, along the row first
  __device__ __forceinline__ LaneOffsets() {
    const unsigned lane = threadIdx.x % 32, low = lane & 15, other = (lane & 7) + (lane >> 4) * 8;
    rows_first = low * kSize + ((lane >> 4) ^ (low & 7)) * kPiece;
    pieces_first = other * kSize + ((lane >> 3 & 1) ^ (other & 7)) * kPiece;
  }
};

// Fragment a: rows row to row+15 of the tile, elements 16 k to 16 k + 15. `row` is a multiple of 16 here and below.
template <int kSize>
__device__ __forceinline__ void load_a(unsigned (&a)[4], const Bfloat16* tile, LaneOffsets<kSize> lane, int row,
                                       int k) {
  load_matrices(a, tile + (lane.rows_first ^ static_cast<unsigned>(16 * k)) + row * kSize);
}

// Fragments b of a product with the tile's transpose: its rows row to row+7 are the columns of (b[0], b[1]), the next
// eight those of (b[2], b[3]); inner are the elements 16 k to 16 k + 15.
template <int kSize>
__device__ __forceinline__ void load_b_of_transpose(unsigned (&b)[4], const Bfloat16* tile, LaneOffsets<kSize> lane,
                                                    int row, int k) {
  load_matrices(b, tile + (lane.pieces_first ^ static_cast<unsigned>(16 * k)) + row * kSize);
}

// Fragments b of a product with the tile: inner are its rows row to row+15; elements 16 n to 16 n + 7 are the columns
// of (b[0], b[1]), the next eight those of (b[2], b[3]).
template <int kSize>
__device__ __forceinline__ void load_b(unsigned (&b)[4], const Bfloat16* tile, LaneOffsets<kSize> lane, int row,
                                       int n) {
  load_matrices_transposed(b, tile + (lane.rows_first ^ static_cast<unsigned>(16 * n)) + row * kSize);
}

// Two neighbouring fragments c, 16 rows by 16 columns, as a fragment a of the next product.
__device__ __forceinline__ void narrow_fragments(unsigned (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = narrow_pair(left[0], left[1]);
  a[1] = narrow_pair(left[2], left[3]);
  a[2] = narrow_pair(right[0], right[1]);
  a[3] = narrow_pair(right[2], right[3]);
}

// c += a b^T for a warp's `kFragments` times 16 rows and 16 `kColumns16` columns, the tile's rows from `row` on.
// `load_rows(k, a)` gives the fragments a of step k.
template <int kSize, int kFragments, int kColumns16, class LoadRows>
__device__ __forceinline__ void multiply_by_transpose(float (&c)[kFragments][2 * kColumns16][4], LoadRows load_rows,
                                                      const Bfloat16* tile, LaneOffsets<kSize> lane, int row) {
#pragma unroll
  for (int k = 0; k < kSize / 16; ++k) {
    unsigned a[kFragments][4];
    load_rows(k, a);
#pragma unroll
    for (int n = 0; n < kColumns16; ++n) {
      unsigned b[4];
      load_b_of_transpose<kSize>(b, tile, lane, row + 16 * n, k);
#pragma unroll
      for (int f = 0; f < kFragments; ++f) {
        mma_16x8x16(c[f][2 * n], a[f], b[0], b[1]);
        mma_16x8x16(c[f][2 * n + 1], a[f], b[2], b[3]);
      }
    }
  }
}

// c += a b, where a is `kInner16` times 16 columns in fragments, and b the tile's rows from `row` on.
template <int kSize, int kFragments, int kInner16>
__device__ __forceinline__ void multiply(float (&c)[kFragments][kSize / 8][4],
                                         const unsigned (&a)[kFragments][kInner16][4], const Bfloat16* tile,
                                         LaneOffsets<kSize> lane, int row) {
#pragma unroll
  for (int k = 0; k < kInner16; ++k) {
#pragma unroll
    for (int n = 0; n < kSize / 16; ++n) {
      unsigned b[4];
      load_b<kSize>(b, tile, lane, row + 16 * k, n);
#pragma unroll
      for (int f = 0; f < kFragments; ++f) {
        mma_16x8x16(c[f][2 * n], a[f][k], b[0], b[1]);
        mma_16x8x16(c[f][2 * n + 1], a[f][k], b[2], b[3]);
      }
    }
  }
}

// Writes a warp's rows of a result, times the factors, over its own rows of a tile that nobody else reads any more, and
// from there to memory in whole pieces. `row` is the warp's first in the tile; rows from `rows_left` on are left out.
template <int kSize, int kFragments>
__device__ __forceinline__ void store_rows(const float (&c)[kFragments][kSize / 8][4],
                                           const float (&factors)[kFragments][2], Bfloat16* tile, unsigned row,
                                           Bfloat16* to, size_t stride, int rows_left) {
  constexpr unsigned kPieces = kSize / kPiece, kAtOnce = 32 / kPieces;
  const unsigned lane = threadIdx.x % 32;
  __syncwarp();
#pragma unroll
  for (int f = 0; f < kFragments; ++f) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const unsigned own = row + 16 * f + 8 * half + lane / 4;
#pragma unroll
      for (unsigned n = 0; n < kPieces; ++n) {
        *reinterpret_cast<unsigned*>(piece_at<kSize>(tile, own, n) + lane % 4 * 2) =
            narrow_pair(c[f][n][2 * half] * factors[f][half], c[f][n][2 * half + 1] * factors[f][half]);
      }
    }
  }
  __syncwarp();
#pragma unroll
  for (unsigned i = 0; i < 16 * kFragments; i += kAtOnce) {
    const unsigned own = row + i + lane / kPieces, piece = lane % kPieces;
    if (static_cast<int>(own) < rows_left) {
      *reinterpret_cast<uint4*>(to + own * stride + piece * kPiece) =
          *reinterpret_cast<const uint4*>(piece_at<kSize>(tile, own, piece));
    }
  }
}

}  // namespace freshet::cuda
