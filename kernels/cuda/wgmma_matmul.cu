// Compute-bound. Blocks take one tile of C after another. One warp lets the copy engine bring blocks of 64 of the inner
// dimension into a ring of stages; two warpgroups multiply 64 rows each. Tiles are taken in groups of 16 below each
// other, whose operands meet in the level-2 cache. Versions:
//   wide: tiles of 128 x 256, one block a multiprocessor: reads least. Wins where the inner dimension is long, or the
//     epilogue short: the next tile is brought while the last one is written, but not multiplied.
//   narrow: tiles of 128 x 128, two blocks a multiprocessor: one multiplies while the other one writes.
// Sums of C's columns: each warpgroup adds up its 64 rows on the way out, a part of 4 bytes a column in memory, and
// sum_parts() adds the parts.
#include "kernels/cuda/wgmma_matmul.h"

#include <algorithm>

#include "kernels/cuda/bfloat16.cuh"
#include "kernels/cuda/device.h"
#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/named_barrier.cuh"
#include "kernels/cuda/product_epilogue.h"
#include "kernels/cuda/sum_parts.h"
#include "kernels/cuda/wgmma.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kFullMask = 0xFFFFFFFFU;
constexpr unsigned kWarpgroup = 128;
constexpr unsigned kConsumers = 2 * kWarpgroup;
constexpr unsigned kThreads = kConsumers + 32;  // the last warp loads
constexpr int kTileM = 128, kTileK = 64;
constexpr int kGroup = 16;                         // tiles below each other
constexpr unsigned kBlockBytes = 64 * kTileK * 2;  // 64 rows of 128 bytes
constexpr unsigned kBytesA = 2 * kBlockBytes;
constexpr int kPartRows = 64;  // of a part of the sums of C's columns

template <int tile_n>
struct Ring {
  static constexpr unsigned kBlocks = tile_n == 256 ? 1 : 2;  // of a multiprocessor
  static constexpr unsigned kRingBytes = 192 * 1024 / kBlocks;
  static constexpr unsigned kStageBytes = kBytesA + tile_n / 64 * kBlockBytes;
  static constexpr unsigned kStages = kRingBytes / kStageBytes;
  // Behind the stages: barriers, then of each warp its sums of a tile's columns.
  static constexpr unsigned kBarrierBytes = 2 * kStages * sizeof(uint64_t);
  static constexpr unsigned kSumBytes = kConsumers / 32 * tile_n * sizeof(float);
  static constexpr unsigned kSharedBytes = kStages * kStageBytes + kBarrierBytes + kSumBytes;
};

struct Arguments {
  int m, n, k, tiles_m, tiles_n;
  void* c;
  size_t c_stride;
  const Bfloat16* bias;
  Bfloat16* z;
  float* parts;  // [m / 64, rounded up][n], where C's columns are summed
  Epilogue epilogue;
  bool is_float, accumulate;
};

struct Place {
  int m, n;  // where the tile begins
};

template <int tile_n>
__device__ __forceinline__ Place place_of(const Arguments& given, int tile) {
  const int group = tile / (kGroup * given.tiles_n), within = tile % (kGroup * given.tiles_n);
  const int rows = given.tiles_m - group * kGroup < kGroup ? given.tiles_m - group * kGroup : kGroup;
  return {(group * kGroup + within % rows) * kTileM, within / rows * tile_n};
}

// Two neighbours of a row, of which `count` are there: 0 elsewhere.
__device__ __forceinline__ float2 load_pair(const Bfloat16* from, int count) {
  if (count >= 2) {
    const unsigned pair = *reinterpret_cast<const unsigned*>(from);
    return make_float2(widen_low(pair), widen_high(pair));
  }
  return make_float2(count == 1 ? widen(*from) : 0.0F, 0.0F);
}

// Word t of lane q becomes word q of lane t, in each four neighbouring lanes.
__device__ __forceinline__ void transpose_quad(unsigned (&words)[4]) {
  const unsigned lane = threadIdx.x % 4;
#pragma unroll
  for (unsigned i = 0; i < 2; ++i) {
    const unsigned got = __shfl_xor_sync(kFullMask, lane < 2 ? words[i + 2] : words[i], 2);
    (lane < 2 ? words[i + 2] : words[i]) = got;
  }
#pragma unroll
  for (unsigned i = 0; i < 4; i += 2) {
    const unsigned got = __shfl_xor_sync(kFullMask, lane % 2 == 0 ? words[i + 1] : words[i], 1);
    (lane % 2 == 0 ? words[i + 1] : words[i]) = got;
  }
}

// Eight neighbours of a row, of which `count` are there.
__device__ __forceinline__ void store_words(const unsigned (&words)[4], int count, Bfloat16* to) {
  if (count >= 8) {
    *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (i < count) to[i] = static_cast<Bfloat16>(words[i / 2] >> (i % 2 * 16) & 0xFFFF);
  }
}

// The thread's sums are of rows `row` and row + 8 and, for each block of 8 columns, two from `column` on.
template <int tile_n>
__device__ __forceinline__ void write_floats(const Arguments& given, const float (&sums)[tile_n / 2], int row,
                                             int column) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (row + half * 8 >= given.m) continue;
    float* const c = static_cast<float*>(given.c) + static_cast<size_t>(row + half * 8) * given.c_stride;
#pragma unroll
    for (int block = 0; block < tile_n / 8; ++block) {
      const int at = column + block * 8;
      float2 value = make_float2(sums[block * 4 + half * 2], sums[block * 4 + half * 2 + 1]);
      if (at + 1 < given.n) {
        float2* const to = reinterpret_cast<float2*>(c + at);
        if (given.accumulate) {
          const float2 old = *to;
          value.x += old.x;
          value.y += old.y;
        }
        *to = value;
      } else if (at < given.n) {
        c[at] = given.accumulate ? c[at] + value.x : value.x;
      }
    }
  }
}

// Where C's columns are summed, it leaves the sums of the two rows, before they were rounded, in the place of the first
// one's: sums[4 * block] and sums[4 * block + 1].
template <int tile_n>
__device__ __forceinline__ void write_bfloats(const Arguments& given, float (&sums)[tile_n / 2], int row, int column) {
  const int lane = static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int blocks = 0; blocks < tile_n / 8; blocks += 4) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const bool has_row = row + half * 8 < given.m;
      const size_t first = static_cast<size_t>(row + half * 8) * given.c_stride;
      Bfloat16* const c = static_cast<Bfloat16*>(given.c) + first;
      Bfloat16* const z = given.z + first;
      unsigned words[4], z_words[4] = {};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int block = blocks + i, at = column + block * 8, left = has_row ? given.n - at : 0;
        float2 value = make_float2(sums[block * 4 + half * 2], sums[block * 4 + half * 2 + 1]);
        if (given.accumulate) {
          const float2 old = load_pair(c + at, left);
          value = make_float2(value.x + old.x, value.y + old.y);
        }
        if (given.bias) {
          const float2 bias = load_pair(given.bias + at, left);
          value = make_float2(value.x + bias.x, value.y + bias.y);
        }
        if (given.epilogue == Epilogue::kBiasGelu) z_words[i] = narrow_pair(value.x, value.y);
        value = make_float2(activated(given.epilogue, value.x), activated(given.epilogue, value.y));
        if (given.parts) {
          const float2 before = load_pair(z + at, left);
          value.x = left > 0 ? gradient_before(given.epilogue, before.x, value.x) : 0.0F;
          value.y = left > 1 ? gradient_before(given.epilogue, before.y, value.y) : 0.0F;
          sums[block * 4] = half == 0 ? value.x : sums[block * 4] + value.x;
          sums[block * 4 + 1] = half == 0 ? value.y : sums[block * 4 + 1] + value.y;
        }
        words[i] = narrow_pair(value.x, value.y);
      }
      // Block `blocks + lane` whole, for one access of 16 bytes.
      const int at = column - lane * 2 + (blocks + lane) * 8, left = has_row ? given.n - at : 0;
      transpose_quad(words);
      store_words(words, left, c + at);
      if (given.epilogue == Epilogue::kBiasGelu) {
        transpose_quad(z_words);
        store_words(z_words, left, z + at);
      }
    }
  }
}

// Two lanes, `distance` apart, have `count` values each: the lower one gets the sums of the first half of them, the
// upper one those of the second, in the first half's place. In three such steps eight lanes take 7 / 8 of a shuffle for
// each value; a sum that all of them got would take three.
template <int count, int distance>
__device__ __forceinline__ void share_out(float* values) {
  const bool is_upper = (threadIdx.x & distance) != 0;
#pragma unroll
  for (int i = 0; i < count / 2; ++i) {
    const float got = __shfl_xor_sync(kFullMask, is_upper ? values[i] : values[count / 2 + i], distance);
    values[i] = (is_upper ? values[count / 2 + i] : values[i]) + got;
  }
}

// Barriers by constants, since a kernel whose numbers are computed takes all sixteen.
__device__ __forceinline__ void sync_warpgroup(int own_row) {
  if (own_row == 0) {
    sync_some(1, kWarpgroup);
  } else {
    sync_some(2, kWarpgroup);
  }
}

// The sums of the warpgroup's rows, one part, from what write_bfloats() left. `shared`: [4 warps][tile_n] of the
// warpgroup; `column`: where the tile begins.
template <int tile_n>
__device__ __forceinline__ void write_part(const Arguments& given, float (&sums)[tile_n / 2], int own_row,
                                           float* shared, int first_row, int column) {
  constexpr int kPairs = tile_n / 8;
  float columns[2 * kPairs];
#pragma unroll
  for (int block = 0; block < kPairs; ++block) {
    columns[block * 2] = sums[block * 4];
    columns[block * 2 + 1] = sums[block * 4 + 1];
  }
  // Lanes of one l % 4 hold the same columns of eight rows; lane l keeps the l / 4-th eighth of them.
  share_out<2 * kPairs, 16>(columns);
  share_out<kPairs, 8>(columns);
  share_out<kPairs / 2, 4>(columns);
  const unsigned thread = threadIdx.x % kWarpgroup, lane = thread % 32;
  float* const own = shared + thread / 32 * tile_n + lane / 4 * (tile_n / 8) + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < kPairs / 8; ++i) {
    *reinterpret_cast<float2*>(own + i * 8) = make_float2(columns[i * 2], columns[i * 2 + 1]);
  }
  sync_warpgroup(own_row);
  float* const part = given.parts + static_cast<size_t>(first_row / kPartRows) * static_cast<size_t>(given.n);
  for (int i = static_cast<int>(thread); i < tile_n && first_row < given.m; i += static_cast<int>(kWarpgroup)) {
    const float sum = (shared[i] + shared[tile_n + i]) + (shared[2 * tile_n + i] + shared[3 * tile_n + i]);
    if (column + i < given.n) part[column + i] = sum;
  }
  sync_warpgroup(own_row);  // the next tile's sums come to the same place
}

// One thread fills stages as they become free.
template <int tile_n, bool a_mn_major, bool b_mn_major>
__device__ __forceinline__ void load_tiles(const Arguments& given, const TensorMap* a, const TensorMap* b,
                                           std::byte* stages, uint64_t* full, uint64_t* empty) {
  using R = Ring<tile_n>;
  tma_prefetch_map(a);
  tma_prefetch_map(b);
  unsigned stage = 0, parity = 0;
  for (int tile = static_cast<int>(blockIdx.x); tile < given.tiles_m * given.tiles_n;
       tile += static_cast<int>(gridDim.x)) {
    const Place place = place_of<tile_n>(given, tile);
    for (int k = 0; k < given.k; k += kTileK) {
      std::byte* const to = stages + stage * R::kStageBytes;
      mbarrier_wait(empty + stage, parity ^ 1);
      mbarrier_arrive_expect(full + stage, R::kStageBytes);
      if constexpr (a_mn_major) {
        tma_load(to, a, full + stage, place.m, k);
        tma_load(to + kBlockBytes, a, full + stage, place.m + 64, k);
      } else {
        tma_load(to, a, full + stage, k, place.m);
      }
      if constexpr (b_mn_major) {
#pragma unroll
        for (int block = 0; block < tile_n / 64; ++block) {
          tma_load(to + kBytesA + block * kBlockBytes, b, full + stage, place.n + block * 64, k);
        }
      } else {
        tma_load(to + kBytesA, b, full + stage, k, place.n);
      }
      stage = stage + 1 == R::kStages ? 0 : stage + 1;
      parity ^= stage == 0 ? 1 : 0;
    }
  }
}

// A warpgroup multiplies the 64 rows from `own_row` on of each tile.
template <int tile_n, bool a_mn_major, bool b_mn_major>
__device__ __forceinline__ void multiply_tiles(const Arguments& given, int own_row, const std::byte* stages,
                                               uint64_t* full, uint64_t* empty, float* shared_sums) {
  using R = Ring<tile_n>;
  constexpr unsigned kStepA = a_mn_major ? 2048 : 32, kStepB = b_mn_major ? 2048 : 32;
  const unsigned own_bytes = static_cast<unsigned>(own_row) / 64 * kBlockBytes, lane = threadIdx.x % 32;
  float sums[tile_n / 2];
  unsigned stage = 0, parity = 0;
  for (int tile = static_cast<int>(blockIdx.x); tile < given.tiles_m * given.tiles_n;
       tile += static_cast<int>(gridDim.x)) {
    unsigned last_stage = 0;
#pragma unroll
    for (int i = 0; i < tile_n / 2; ++i) sums[i] = 0;
    fence_registers(sums);
    for (int k = 0; k < given.k; k += kTileK) {
      const std::byte* const from = stages + stage * R::kStageBytes;
      const uint64_t a =
          a_mn_major ? mn_major_descriptor(from + own_bytes, kBlockBytes) : k_major_descriptor(from + own_bytes);
      const uint64_t b =
          b_mn_major ? mn_major_descriptor(from + kBytesA, kBlockBytes) : k_major_descriptor(from + kBytesA);
      mbarrier_wait(full + stage, parity);
      wgmma_fence();
#pragma unroll
      for (unsigned step = 0; step < 4; ++step) {
        wgmma<tile_n, a_mn_major, b_mn_major>(sums, descriptor_at(a, step * kStepA), descriptor_at(b, step * kStepB),
                                              true);
      }
      wgmma_commit();
      // One block of products stays under way while the stage of the one before is given back.
      wgmma_wait<1>();
      if (k > 0 && lane == 0) mbarrier_arrive(empty + last_stage);
      last_stage = stage;
      stage = stage + 1 == R::kStages ? 0 : stage + 1;
      parity ^= stage == 0 ? 1 : 0;
    }
    wgmma_wait<0>();
    fence_registers(sums);
    if (lane == 0) mbarrier_arrive(empty + last_stage);
    const Place place = place_of<tile_n>(given, tile);
    const int row = place.m + own_row + static_cast<int>(threadIdx.x % kWarpgroup / 32 * 16 + lane / 4);
    const int column = place.n + static_cast<int>(lane % 4 * 2);
    if (given.is_float) {
      write_floats<tile_n>(given, sums, row, column);
    } else {
      write_bfloats<tile_n>(given, sums, row, column);
      if (given.parts) {
        write_part<tile_n>(given, sums, own_row, shared_sums, place.m + own_row, place.n);
      }
    }
  }
}

template <int tile_n, bool a_mn_major, bool b_mn_major>
__global__ void __launch_bounds__(kThreads, Ring<tile_n>::kBlocks)
    matmul_kernel(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
                  const __grid_constant__ Arguments given) {
  using R = Ring<tile_n>;
  std::byte* const stages = dynamic_shared();
  uint64_t* const full = reinterpret_cast<uint64_t*>(stages + R::kStages * R::kStageBytes);
  uint64_t* const empty = full + R::kStages;
  if (threadIdx.x == 0) {
    for (unsigned stage = 0; stage < R::kStages; ++stage) {
      mbarrier_init(full + stage, 1);
      mbarrier_init(empty + stage, kConsumers / 32);
    }
    mbarrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < kConsumers) {
    const int own_row = threadIdx.x < kWarpgroup ? 0 : 64;
    float* const shared_sums =
        reinterpret_cast<float*>(stages + R::kStages * R::kStageBytes + R::kBarrierBytes) + own_row / 16 * tile_n;
    multiply_tiles<tile_n, a_mn_major, b_mn_major>(given, own_row, stages, full, empty, shared_sums);
  } else if (threadIdx.x == kConsumers) {
    load_tiles<tile_n, a_mn_major, b_mn_major>(given, &a, &b, stages, full, empty);
  }
}

Result<TensorMap> map_of(const void* data, size_t rows, size_t columns, size_t stride, unsigned box_rows) {
  TensorMapShape shape;
  shape.data = const_cast<void*>(data);
  shape.extents = {columns, rows};
  shape.strides = {1, stride};
  shape.box = {64, box_rows};
  return make_tensor_map(shape);
}

size_t tiles(size_t extent, size_t tile) { return (extent + tile - 1) / tile; }

template <int tile_n, bool a_mn_major, bool b_mn_major>
Status start(const ProductShape& shape, const ProductOperands& operands, unsigned multiprocessors, float* parts,
             CudaStream stream) {
  auto map_a = a_mn_major ? map_of(operands.a, shape.k, shape.m, operands.a_stride, kTileK)
                          : map_of(operands.a, shape.m, shape.k, operands.a_stride, kTileM);
  auto map_b = b_mn_major ? map_of(operands.b, shape.k, shape.n, operands.b_stride, kTileK)
                          : map_of(operands.b, shape.n, shape.k, operands.b_stride, tile_n);
  RETURN_IF_ERROR(map_a.status());
  RETURN_IF_ERROR(map_b.status());
  Arguments given{};
  given.m = static_cast<int>(shape.m);
  given.n = static_cast<int>(shape.n);
  given.k = static_cast<int>(shape.k);
  given.tiles_m = static_cast<int>(tiles(shape.m, kTileM));
  given.tiles_n = static_cast<int>(tiles(shape.n, tile_n));
  given.c = operands.c;
  given.c_stride = operands.c_stride;
  given.bias = operands.bias;
  given.z = operands.z;
  given.parts = is_gradient(shape.epilogue) ? parts : nullptr;
  given.epilogue = shape.epilogue;
  given.is_float = shape.result == Type::kFloat32;
  given.accumulate = shape.accumulate;
  const unsigned blocks =
      std::min(multiprocessors * Ring<tile_n>::kBlocks, static_cast<unsigned>(given.tiles_m * given.tiles_n));
  return launch("wgmma_matmul", matmul_kernel<tile_n, a_mn_major, b_mn_major>,
                {blocks, kThreads, Ring<tile_n>::kSharedBytes}, stream, *map_a, *map_b, given);
}

template <int tile_n>
Status start_of(const ProductShape& shape, const ProductOperands& operands, unsigned multiprocessors, float* parts,
                CudaStream stream) {
  if (shape.a_transposed) {
    return shape.b_transposed ? start<tile_n, true, false>(shape, operands, multiprocessors, parts, stream)
                              : start<tile_n, true, true>(shape, operands, multiprocessors, parts, stream);
  }
  return shape.b_transposed ? start<tile_n, false, false>(shape, operands, multiprocessors, parts, stream)
                            : start<tile_n, false, true>(shape, operands, multiprocessors, parts, stream);
}

size_t parts_of(const ProductShape& shape) { return tiles(shape.m, kPartRows); }

// Asked once, which costs milliseconds: a process uses devices of one model.
const Result<DeviceProperties>& device() {
  static const Result<DeviceProperties> found = device_properties();
  return found;
}

}  // namespace

bool wgmma_matmul_takes(const ProductShape& shape) {
  constexpr size_t kMost = size_t{1} << 30;  // of an extent, and of the tiles
  return has_wgmma() && shape.operands == Type::kBfloat16 && shape.m < kMost && shape.n < kMost && shape.k < kMost &&
         tiles(shape.m, kTileM) * tiles(shape.n, 128) < kMost &&
         (!is_gradient(shape.epilogue) || parts_of(shape) * shape.n * sizeof(float) <= kProductScratchBytes);
}

Status wgmma_matmul(const ProductShape& shape, const ProductOperands& operands, WgmmaTiles tiles_of_c, float* scratch,
                    CudaStream stream) {
  RETURN_IF_ERROR(device().status());
  if (!wgmma_matmul_takes(shape)) {
    return invalid_argument("wgmma_matmul does not take " + shape.name() + " on " + device()->name);
  }
  const auto multiprocessors = static_cast<unsigned>(device()->multiprocessors);
  RETURN_IF_ERROR(tiles_of_c == WgmmaTiles::kWide ? start_of<256>(shape, operands, multiprocessors, scratch, stream)
                                                  : start_of<128>(shape, operands, multiprocessors, scratch, stream));
  if (is_gradient(shape.epilogue)) {
    return sum_parts(parts_of(shape), shape.n, scratch, {operands.bias_gradient}, stream);
  }
  return shape.epilogue == Epilogue::kBiasGradient ? product_epilogue(shape, operands, scratch, stream) : Status::ok();
}

}  // namespace freshet::cuda
