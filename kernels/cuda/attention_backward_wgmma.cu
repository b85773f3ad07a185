// Version 2 of the backward pass: the two kernels of version 1 (attention_backward.cu) on wgmma and the copy engine. A
// block makes 128 rows, 64 a warpgroup, from tiles of 64 queries or keys in a ring of four.
//
// Keys: one block on a multiprocessor. With heads of 128 a thread holds dk and dv in 128 registers, scores and products
// with dout in 64, and both as operands in 32: wider tiles do not fit, and three warpgroups do not either. A warpgroup
// starts the next tile's scores before it waits for the sums of the last, which keeps the tensor cores at work while
// the other one makes powers. Queries: of heads of 64, two blocks, and the four warpgroups do that for each other. Of
// heads of 128 shared memory holds one block (64 KiB of rows, 128 KiB of tiles); by the units' rates, its products
// take thrice as long as what a warpgroup does between them, so that two warpgroups are enough.
//
// The scores are made twice, seven products in place of five, so that no block adds to another's sums: a dq that the
// blocks of keys add up needs atomics, or an order in which blocks wait for each other.
#include <cmath>

#include "kernels/cuda/attention_wgmma.cuh"
#include "kernels/cuda/exp2.cuh"

namespace freshet::cuda {
namespace {

constexpr int kRows = 128, kTile = 64, kStages = 4;

template <int kSize>
using Rows = Bfloat16[kRows * kSize];
template <int kSize>
using Tile = Bfloat16[kTile * kSize];
using Scores = float[kTile / 8][4];  // of a warpgroup's rows with a tile's
template <int kSize>
using Sums = float[kSize / 8][4];
using Fragments = unsigned[kTile / 16][4];

struct Arguments {
  const float *log2_sum, *delta;
  Bfloat16 *dq, *dk, *dv;
  size_t stride;
  int length, padded, heads, group;
  float scale, scale_log2;  // of a score; in base 2
};

template <int kSize>
struct Shared {
  Rows<kSize> rows[2];            // the block's own: k and v, or q and dout
  Tile<kSize> tiles[kStages][2];  // q and dout, or k and v
  float statistics[kStages][2][kTile];
  Ring<kStages> ring;
  uint64_t rows_full;
};

// Starts the two products that a tile begins with: scores, and dout v^T. Each is a group.
template <int kSize>
__device__ __forceinline__ void start_tile(Scores& scores, Scores& products, const Rows<kSize> (&rows)[2], int row,
                                           const Tile<kSize> (&tile)[2]) {
  fence_registers(flat(scores));
  fence_registers(flat(products));
  wgmma_fence();
  start_scores<kSize, kRows, kTile>(scores, rows[0], row, tile[0]);
  wgmma_commit();
  start_scores<kSize, kRows, kTile>(products, rows[1], row, tile[1]);
  wgmma_commit();
}

// sums += a tile, as a group.
template <int kSize>
__device__ __forceinline__ void start_product(Sums<kSize>& sums, Fragments& a, const Tile<kSize>& tile) {
  fence_registers(flat(sums));
  fence_registers(a);
  wgmma_fence();
  start_sum<kSize, kTile>(sums, a, tile);
  wgmma_commit();
}

__device__ __forceinline__ void narrow_scores(Fragments& a, const Scores& scores) {
#pragma unroll
  for (int n = 0; n < kTile / 16; ++n) narrow_fragments(a[n], scores[2 * n], scores[2 * n + 1]);
}

// p = 0 where is_hidden(row, column). A branch behind all powers: without one, ptxas moves the wait for the next
// product up to the one for the scores, and the powers behind both.
template <class IsHidden>
__device__ __forceinline__ void hide(Scores& p, IsHidden is_hidden) {
  const int row = static_cast<int>(threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4);
  const int column = static_cast<int>(threadIdx.x % 4) * 2;
#pragma unroll
  for (int n = 0; n < kTile / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (is_hidden(row + i / 2 * 8, 8 * n + column + i % 2)) p[n][i] = 0;
    }
  }
}

template <int kSize>
__device__ __forceinline__ void store_own(const Sums<kSize>& sums, float factor, Rows<kSize>& rows, int warp_row,
                                          Bfloat16* to, size_t stride, int rows_left) {
  const float factors[1][2] = {{factor, factor}};
#pragma unroll
  for (int block = 0; block < kSize / kBlockColumns; ++block) {
    store_rows<kBlockColumns, 1>(reinterpret_cast<const float(&)[1][kBlockColumns / 8][4]>(sums[block * 8]), factors,
                                 rows + block * kRows * kBlockColumns, static_cast<unsigned>(warp_row),
                                 to + block * kBlockColumns, stride, rows_left);
  }
}

template <int kSize>
__global__ void __launch_bounds__(kThreads, 1)
    attention_backward_keys_wgmma_kernel(const __grid_constant__ TensorMap q_map,
                                         const __grid_constant__ TensorMap k_map,
                                         const __grid_constant__ TensorMap v_map,
                                         const __grid_constant__ TensorMap dout_map,
                                         const __grid_constant__ TensorMap statistics_map, const Arguments arguments) {
  auto& shared = *dynamic_shared<Shared<kSize>>();
  const int length = arguments.length, first = static_cast<int>(blockIdx.x) * kRows;
  const int kv_head = static_cast<int>(blockIdx.y), sequence = static_cast<int>(blockIdx.z);
  const int tiles = (length - first + kTile - 1) / kTile;  // of queries of a head, from the diagonal on
  const int steps = tiles * arguments.group;               // over the group's heads
  const bool is_copier = threadIdx.x == 0;
  if (is_copier) {
    shared.ring.init();
    mbarrier_init(&shared.rows_full, 1);
    mbarrier_init_fence();
  }
  __syncthreads();

  auto copy_step = [&](int step) {
    const int head = kv_head * arguments.group + step / tiles, row = first + step % tiles * kTile;
    const int stage = step % kStages;
    uint64_t* full = shared.ring.fill(step, 2 * sizeof(Tile<kSize>) + 2 * kTile * sizeof(float));
    load_rows<kSize, kTile>(shared.tiles[stage][0], &q_map, full, head * kSize, row, sequence);
    load_rows<kSize, kTile>(shared.tiles[stage][1], &dout_map, full, head * kSize, row, sequence);
    tma_load(shared.statistics[stage], &statistics_map, full, row, sequence * arguments.heads + head, 0);
  };
  if (is_copier) {
    mbarrier_arrive_expect(&shared.rows_full, sizeof(shared.rows));
    load_rows<kSize, kRows>(shared.rows[0], &k_map, &shared.rows_full, kv_head * kSize, first, sequence);
    load_rows<kSize, kRows>(shared.rows[1], &v_map, &shared.rows_full, kv_head * kSize, first, sequence);
    for (int step = 0; step < min(steps, kStages); ++step) copy_step(step);
  }
  __syncwarp();

  const int warpgroup = own_warpgroup(), own_row = warpgroup * kWarpgroupRows;
  const int warp_row = static_cast<int>(threadIdx.x / 32) * 16;
  const int lane_column = static_cast<int>(threadIdx.x % 4) * 2;
  mbarrier_wait(&shared.rows_full, 0);

  Sums<kSize> dk = {}, dv = {};
  Scores p, ds;
  int step = 0, tile = 0;  // of the head's
  auto advance = [&] {
    ++step;
    if (++tile == tiles) tile = 0;
  };
  // The second warpgroup's keys lie behind the first tile of queries of each head.
  auto skip = [&] {
    while (warpgroup == 1 && tile == 0 && step < steps) {
      shared.ring.pass(step);
      advance();
    }
  };
  skip();
  if (step < steps) {
    shared.ring.wait(step);
    start_tile<kSize>(p, ds, shared.rows, own_row, shared.tiles[step % kStages]);
    for (;;) {
      const int stage = step % kStages;
      const float(&statistics)[2][kTile] = shared.statistics[stage];
      wgmma_wait<1>();
      fence_registers(flat(p));
#pragma unroll
      for (int n = 0; n < kTile / 8; ++n) {
        const float2 log2_sums = *reinterpret_cast<const float2*>(&statistics[0][8 * n + lane_column]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          p[n][i] = exp2_approximate(p[n][i] * arguments.scale_log2 - (i % 2 == 0 ? log2_sums.x : log2_sums.y));
        }
      }
      if (tile == warpgroup) hide(p, [](int key, int query) { return query < key; });
      Fragments p_operand, ds_operand;
      narrow_scores(p_operand, p);
      wgmma_wait<0>();
      fence_registers(flat(ds));
      start_product<kSize>(dv, p_operand, shared.tiles[stage][1]);
#pragma unroll
      for (int n = 0; n < kTile / 8; ++n) {
        const float2 deltas = *reinterpret_cast<const float2*>(&statistics[1][8 * n + lane_column]);
#pragma unroll
        for (int i = 0; i < 4; ++i) ds[n][i] = p[n][i] * (ds[n][i] - (i % 2 == 0 ? deltas.x : deltas.y));
      }
      narrow_scores(ds_operand, ds);
      start_product<kSize>(dk, ds_operand, shared.tiles[stage][0]);

      const int done = step;
      advance();
      skip();
      if (step >= steps) break;
      shared.ring.wait(step);
      start_tile<kSize>(p, ds, shared.rows, own_row, shared.tiles[step % kStages]);
      // In the place of the step before the last: so far may the warpgroups be apart without a wait.
      if (is_copier && step > 1 && step - 2 + kStages < steps) copy_step(step - 2 + kStages);
      __syncwarp();
      wgmma_wait<2>();
      fence_registers(flat(dk));
      fence_registers(flat(dv));
      shared.ring.release(done);
    }
    wgmma_wait<0>();
    fence_registers(flat(dk));
    fence_registers(flat(dv));
  }

  const size_t at =
      (static_cast<size_t>(sequence) * static_cast<size_t>(length) + first) * arguments.stride + blockIdx.y * kSize;
  store_own<kSize>(dv, 1, shared.rows[1], warp_row, arguments.dv + at, arguments.stride, length - first);
  store_own<kSize>(dk, arguments.scale, shared.rows[0], warp_row, arguments.dk + at, arguments.stride, length - first);
}

template <int kSize>
__global__ void __launch_bounds__(kThreads, kSize == 64 ? 2 : 1)
    attention_backward_queries_wgmma_kernel(const __grid_constant__ TensorMap q_map,
                                            const __grid_constant__ TensorMap k_map,
                                            const __grid_constant__ TensorMap v_map,
                                            const __grid_constant__ TensorMap dout_map, const Arguments arguments) {
  auto& shared = *dynamic_shared<Shared<kSize>>();
  const int length = arguments.length, first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kRows;
  const int head = static_cast<int>(blockIdx.y), sequence = static_cast<int>(blockIdx.z);
  const int tiles = (min(first + kRows, length) - 1) / kTile + 1;  // of keys, up to the diagonal
  const bool is_copier = threadIdx.x == kWarpgroupThreads;
  if (is_copier) {
    shared.ring.init();
    mbarrier_init(&shared.rows_full, 1);
    mbarrier_init_fence();
  }
  __syncthreads();

  auto copy_tile = [&](int tile) {
    const int column = head / arguments.group * kSize, stage = tile % kStages;
    uint64_t* full = shared.ring.fill(tile, 2 * sizeof(Tile<kSize>));
    load_rows<kSize, kTile>(shared.tiles[stage][0], &k_map, full, column, tile * kTile, sequence);
    load_rows<kSize, kTile>(shared.tiles[stage][1], &v_map, full, column, tile * kTile, sequence);
  };
  if (is_copier) {
    mbarrier_arrive_expect(&shared.rows_full, sizeof(shared.rows));
    load_rows<kSize, kRows>(shared.rows[0], &q_map, &shared.rows_full, head * kSize, first, sequence);
    load_rows<kSize, kRows>(shared.rows[1], &dout_map, &shared.rows_full, head * kSize, first, sequence);
    for (int tile = 0; tile < min(tiles, kStages); ++tile) copy_tile(tile);
  }
  __syncwarp();

  const int own_row = own_warpgroup() * kWarpgroupRows, own_first = first + own_row;
  const int own_tiles = min(tiles, own_first / kTile + 1);  // that this warpgroup sees
  const int warp_row = static_cast<int>(threadIdx.x / 32) * 16;
  const int lane_row = static_cast<int>(threadIdx.x % 32 / 4);
  float log2_sum[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const size_t at = (static_cast<size_t>(sequence) * gridDim.y + blockIdx.y) * static_cast<size_t>(arguments.padded) +
                      first + warp_row + lane_row + 8 * half;
    log2_sum[half] = arguments.log2_sum[at];
    delta[half] = arguments.delta[at];
  }
  mbarrier_wait(&shared.rows_full, 0);

  Sums<kSize> dq = {};
  for (int tile = 0; tile < own_tiles; ++tile) {
    const int stage = tile % kStages;
    Scores p, ds;
    shared.ring.wait(tile);
    start_tile<kSize>(p, ds, shared.rows, own_row, shared.tiles[stage]);
    if (is_copier && tile > 1 && tile - 2 + kStages < tiles) copy_tile(tile - 2 + kStages);
    __syncwarp();
    wgmma_wait<1>();
    fence_registers(flat(p));
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        p[n][i] = exp2_approximate(p[n][i] * arguments.scale_log2 - log2_sum[i / 2]);
      }
    }
    if (tile * kTile == own_first) hide(p, [](int query, int key) { return key > query; });
    wgmma_wait<0>();
    fence_registers(flat(ds));
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) ds[n][i] = p[n][i] * (ds[n][i] - delta[i / 2]);
    }
    Fragments operand;
    narrow_scores(operand, ds);
    start_product<kSize>(dq, operand, shared.tiles[stage][0]);
    wgmma_wait<0>();
    fence_registers(flat(dq));
    shared.ring.release(tile);
  }
  for (int tile = own_tiles; tile < tiles; ++tile) shared.ring.pass(tile);

  store_own<kSize>(dq, arguments.scale, shared.rows[0], warp_row,
                   arguments.dq +
                       (static_cast<size_t>(sequence) * static_cast<size_t>(length) + first) * arguments.stride +
                       head * kSize,
                   arguments.stride, length - first);
}

template <int kSize>
Status start(const AttentionBackward& call, CudaStream stream) {
  const AttentionShape& shape = call.shape;
  const size_t padded = padded_length(shape);
  const double scale = 1 / std::sqrt(static_cast<double>(kSize));
  const Arguments arguments{call.scratch,
                            call.scratch + shape.sequences * shape.heads * padded,
                            call.dq,
                            call.dk,
                            call.dv,
                            shape.stride,
                            static_cast<int>(shape.length),
                            static_cast<int>(padded),
                            static_cast<int>(shape.heads),
                            static_cast<int>(shape.heads / shape.kv_heads),
                            static_cast<float>(scale),
                            static_cast<float>(scale * std::log2(std::exp(1.0)))};
  auto map_of = [&](const Bfloat16* data, size_t heads, size_t stride, int rows) {
    return head_map(shape, data, heads, stride, static_cast<unsigned>(rows));
  };
  TensorMapShape statistics;
  statistics.element = TensorMapShape::Element::kFloat32;
  statistics.data = call.scratch;
  statistics.rank = 3;
  statistics.extents = {padded, shape.sequences * shape.heads, 2};
  statistics.strides = {1, padded, shape.sequences * shape.heads * padded};
  statistics.box = {kTile, 1, 2};
  statistics.is_swizzled = false;
  ASSIGN_OR_RETURN(const TensorMap statistics_map, make_tensor_map(statistics));
  const unsigned tiles = static_cast<unsigned>(padded / kRows), sequences = static_cast<unsigned>(shape.sequences);
  {
    ASSIGN_OR_RETURN(const TensorMap q_map, map_of(call.q, shape.heads, shape.stride, kTile));
    ASSIGN_OR_RETURN(const TensorMap k_map, map_of(call.k, shape.kv_heads, shape.stride, kRows));
    ASSIGN_OR_RETURN(const TensorMap v_map, map_of(call.v, shape.kv_heads, shape.stride, kRows));
    ASSIGN_OR_RETURN(const TensorMap dout_map, map_of(call.dout, shape.heads, shape.out_stride, kTile));
    RETURN_IF_ERROR(launch("attention_backward_keys_wgmma", attention_backward_keys_wgmma_kernel<kSize>,
                           {{tiles, static_cast<unsigned>(shape.kv_heads), sequences}, kThreads, sizeof(Shared<kSize>)},
                           stream, q_map, k_map, v_map, dout_map, statistics_map, arguments));
  }
  ASSIGN_OR_RETURN(const TensorMap q_map, map_of(call.q, shape.heads, shape.stride, kRows));
  ASSIGN_OR_RETURN(const TensorMap k_map, map_of(call.k, shape.kv_heads, shape.stride, kTile));
  ASSIGN_OR_RETURN(const TensorMap v_map, map_of(call.v, shape.kv_heads, shape.stride, kTile));
  ASSIGN_OR_RETURN(const TensorMap dout_map, map_of(call.dout, shape.heads, shape.out_stride, kRows));
  return launch("attention_backward_queries_wgmma", attention_backward_queries_wgmma_kernel<kSize>,
                {{tiles, static_cast<unsigned>(shape.heads), sequences}, kThreads, sizeof(Shared<kSize>)}, stream,
                q_map, k_map, v_map, dout_map, arguments);
}

}  // namespace

Status attention_backward_wgmma(const AttentionBackward& call, CudaStream stream) {
  return call.shape.size == 64 ? start<64>(call, stream) : start<128>(call, stream);
}

}  // namespace freshet::cuda
