// What the attention kernels of version 2 share: their tiles and the maps that bring them, and operands of wgmma. A
// tile is `kSize` / 64 blocks of rows of 128 bytes, swizzled as the copy engine does it, which is the layout of
// attention_tiles.cuh for rows of 64.
#pragma once

#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/attention_versions.h"
#include "kernels/cuda/sums.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace freshet::cuda {

inline constexpr int kBlockColumns = 64;  // elements in a row of 128 bytes
// Two warpgroups. There is no warp that only copies: a ninth one would cost the others a third of their registers, as a
// multiprocessor's four parts get whole warps. One thread, the copier, starts the copies beside its work: the first of
// the warpgroup that has the longer way, as it waits for the other one.
inline constexpr unsigned kWarpgroupThreads = 128, kThreads = 2 * kWarpgroupThreads;
inline constexpr int kWarpgroupRows = 64;

// The shuffle tells the compiler that it is the same in the whole warp: products may be under way where branches are
// uniform only.
__device__ __forceinline__ int own_warpgroup() {
  return static_cast<int>(__shfl_sync(kFullMask, threadIdx.x / kWarpgroupThreads, 0));
}

// The sums of a product, as fragments c of mma.cuh and as wgmma takes them.
template <int kFragments>
__device__ __forceinline__ float (&flat(float (&fragments)[kFragments][4]))[4 * kFragments] {
  return reinterpret_cast<float(&)[4 * kFragments]>(fragments);
}

// Brings rows row to row + kRows - 1 of a sequence, columns from `column` on; rows behind the sequence's end are zeros.
template <int kSize, int kRows>
__device__ __forceinline__ void load_rows(Bfloat16* tile, const TensorMap* map, uint64_t* barrier, int column, int row,
                                          int sequence) {
#pragma unroll
  for (int block = 0; block < kSize / kBlockColumns; ++block) {
    tma_load(tile + block * kRows * kBlockColumns, map, barrier, column + block * kBlockColumns, row, sequence);
  }
}

// scores = rows columns^T for a warpgroup's 64 rows of a tile of `kRows`, from `row` on; the other tile's rows are the
// columns. Both come from shared memory: nvcc 13.0 puts operands that a loop keeps in registers and those that it makes
// anew into the same ones.
template <int kSize, int kRows, int kColumns>
__device__ __forceinline__ void start_scores(float (&scores)[kColumns / 8][4], const Bfloat16* rows, int row,
                                             const Bfloat16* columns) {
#pragma unroll
  for (int k = 0; k < kSize / 16; ++k) {
    const uint64_t a = k_major_descriptor(rows + (k / 4 * kRows + row) * kBlockColumns);
    const uint64_t b = k_major_descriptor(columns + k / 4 * kColumns * kBlockColumns);
    wgmma<kColumns>(flat(scores), descriptor_at(a, k % 4 * 32), descriptor_at(b, k % 4 * 32), k > 0);
  }
}

// out += a tile: the tile's rows are the inner dimension.
template <int kSize, int kRows>
__device__ __forceinline__ void start_sum(float (&out)[kSize / 8][4], const unsigned (&a)[kRows / 16][4],
                                          const Bfloat16* tile) {
  const uint64_t rows = mn_major_descriptor(tile, kRows * kBlockColumns * sizeof(Bfloat16));
#pragma unroll
  for (int k = 0; k < kRows / 16; ++k) {
    wgmma<kSize, true>(flat(out), a[k], descriptor_at(rows, k * 16 * kBlockColumns * sizeof(Bfloat16)), true);
  }
}

// A ring of tiles in shared memory, counted from 0. The copier fills a tile's place when all warps have released the
// one that lay there before.
template <int kStages>
struct Ring {
  uint64_t full[kStages], free[kStages];

  // One thread, before the block's first barrier.
  __device__ __forceinline__ void init() {
    for (int stage = 0; stage < kStages; ++stage) {
      mbarrier_init(&full[stage], 1);
      mbarrier_init(&free[stage], kThreads / 32);
    }
  }
  static __device__ __forceinline__ unsigned parity(int tile) { return static_cast<unsigned>(tile / kStages) & 1; }
  // Of the copier: the barrier that copies of `bytes` in all report to.
  __device__ __forceinline__ uint64_t* fill(int tile, unsigned bytes) {
    mbarrier_wait(&free[tile % kStages], parity(tile) ^ 1);
    mbarrier_arrive_expect(&full[tile % kStages], bytes);
    return &full[tile % kStages];
  }
  __device__ __forceinline__ void wait(int tile) { mbarrier_wait(&full[tile % kStages], parity(tile)); }
  // Whole warps: this one does not read the tile any more.
  __device__ __forceinline__ void release(int tile) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(&free[tile % kStages]);
  }
  // It does not read it at all. Waiting keeps the parity that it waits for next that of the barrier's next phase.
  __device__ __forceinline__ void pass(int tile) {
    wait(tile);
    release(tile);
  }
};

// Of the heads side by side in rows of `stride`, for tiles of 64 columns.
inline Result<TensorMap> head_map(const AttentionShape& shape, const Bfloat16* data, size_t heads, size_t stride,
                                  unsigned rows) {
  TensorMapShape map;
  map.data = const_cast<Bfloat16*>(data);
  map.rank = 3;
  map.extents = {heads * shape.size, shape.length, shape.sequences};
  map.strides = {1, stride, shape.length * stride};
  map.box = {kBlockColumns, rows, 1};
  return make_tensor_map(map);
}

}  // namespace freshet::cuda
