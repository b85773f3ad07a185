// Version 2 of the forward pass (Shah et al., 2024). A block makes 128 rows of one head's result, 64 a warpgroup, from
// tiles of keys and values that the copy engine brings into a ring, from the diagonal down to the first. With heads of
// 64 two blocks share a multiprocessor, so that four warpgroups, each at another place, keep both the tensor cores and
// the unit for powers at work: at this size the two need about the same time. Heads of 128 take one block with wider
// tiles.
#include <cmath>

#include "kernels/cuda/attention_softmax.cuh"
#include "kernels/cuda/attention_wgmma.cuh"

namespace freshet::cuda {
namespace {

constexpr int kRows = 128;

template <int kSize>
constexpr int kColumns = kSize == 64 ? 64 : 128;  // keys of a tile
template <int kSize>
constexpr int kStages = kSize == 64 ? 4 : 2;
// The copier brings a tile in the place of the one so far back: so far may the warpgroups be apart without a wait.
template <int kSize>
constexpr int kBehind = kStages<kSize> / 2;

struct Arguments {
  Bfloat16* out;
  float* log_sum;
  size_t out_stride;
  int length, group;
  float scale;  // of a score, in base 2
};

template <int kSize>
struct Shared {
  Bfloat16 q[kRows * kSize];
  Bfloat16 k[kStages<kSize>][kColumns<kSize> * kSize], v[kStages<kSize>][kColumns<kSize> * kSize];
  Ring<kStages<kSize>> keys, values;
  uint64_t q_full;
};

template <int kSize>
__global__ void __launch_bounds__(kThreads, kSize == 64 ? 2 : 1)
    attention_forward_wgmma_kernel(const __grid_constant__ TensorMap q_map, const __grid_constant__ TensorMap k_map,
                                   const __grid_constant__ TensorMap v_map, const Arguments arguments) {
  constexpr int kTile = kColumns<kSize>;
  auto& shared = *dynamic_shared<Shared<kSize>>();
  const int length = arguments.length, first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kRows;
  const int head = static_cast<int>(blockIdx.y), sequence = static_cast<int>(blockIdx.z);
  const int tiles = (min(first + kRows, length) - 1) / kTile + 1;
  const bool is_copier = threadIdx.x == kWarpgroupThreads;
  if (is_copier) {
    shared.keys.init();
    shared.values.init();
    mbarrier_init(&shared.q_full, 1);
    mbarrier_init_fence();
  }
  __syncthreads();

  auto copy_tile = [&](int i) {
    constexpr unsigned kBytes = kTile * kSize * sizeof(Bfloat16);
    const int column = head / arguments.group * kSize, row = (tiles - 1 - i) * kTile, stage = i % kStages<kSize>;
    load_rows<kSize, kTile>(shared.k[stage], &k_map, shared.keys.fill(i, kBytes), column, row, sequence);
    load_rows<kSize, kTile>(shared.v[stage], &v_map, shared.values.fill(i, kBytes), column, row, sequence);
  };
  if (is_copier) {
    mbarrier_arrive_expect(&shared.q_full, kRows * kSize * sizeof(Bfloat16));
    load_rows<kSize, kRows>(shared.q, &q_map, &shared.q_full, head * kSize, first, sequence);
    for (int i = 0; i < min(tiles, kStages<kSize>); ++i) copy_tile(i);
  }
  __syncwarp();

  const int own_first = first + own_warpgroup() * kWarpgroupRows;
  const int warp_row = static_cast<int>(threadIdx.x / 32) * 16;
  mbarrier_wait(&shared.q_full, 0);
  float out[kSize / 8][4] = {};
  RowSums rows;
  int i = 0;
  if ((tiles - 1) * kTile > own_first + kWarpgroupRows - 1) {  // above the diagonal of this warpgroup
    shared.keys.pass(i);
    shared.values.pass(i);
    ++i;
  }
  for (; i < tiles; ++i) {
    const int column = (tiles - 1 - i) * kTile, stage = i % kStages<kSize>;
    float scores[kTile / 8][4];
    shared.keys.wait(i);
    fence_registers(flat(scores));
    wgmma_fence();
    start_scores<kSize, kRows, kTile>(scores, shared.q, own_first - first, shared.k[stage]);
    wgmma_commit();
    if (const int next = i - kBehind<kSize> + kStages<kSize>; is_copier && i >= kBehind<kSize> && next < tiles) {
      copy_tile(next);
    }
    __syncwarp();
    wgmma_wait<0>();
    fence_registers(flat(scores));
    shared.keys.release(i);

    if (column + kTile - 1 > own_first) mask_scores(scores, first + warp_row, column);
    add_tile(rows, arguments.scale, scores, out);
    unsigned p[kTile / 16][4];
#pragma unroll
    for (int n = 0; n < kTile / 16; ++n) narrow_fragments(p[n], scores[2 * n], scores[2 * n + 1]);

    shared.values.wait(i);
    fence_registers(flat(out));
    fence_registers(p);
    wgmma_fence();
    start_sum<kSize, kTile>(out, p, shared.v[stage]);
    wgmma_commit();
    wgmma_wait<0>();
    fence_registers(flat(out));
    shared.values.release(i);
  }

  float factors[1][2], log_sums[2];
  end_rows(rows, arguments.scale, factors[0], log_sums);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + warp_row + 8 * half + static_cast<int>(threadIdx.x % 32 / 4);
    if (threadIdx.x % 4 == 0 && row < length) {
      arguments.log_sum[(static_cast<size_t>(sequence) * gridDim.y + blockIdx.y) * static_cast<size_t>(length) + row] =
          log_sums[half];
    }
  }
  Bfloat16* to = arguments.out +
                 (static_cast<size_t>(sequence) * static_cast<size_t>(length) + first) * arguments.out_stride +
                 head * kSize;
#pragma unroll
  for (int block = 0; block < kSize / kBlockColumns; ++block) {
    store_rows<kBlockColumns, 1>(reinterpret_cast<const float(&)[1][kBlockColumns / 8][4]>(out[block * 8]), factors,
                                 shared.q + block * kRows * kBlockColumns, static_cast<unsigned>(warp_row),
                                 to + block * kBlockColumns, arguments.out_stride, length - first);
  }
}

template <int kSize>
Status start(const AttentionForward& call, CudaStream stream) {
  const AttentionShape& shape = call.shape;
  ASSIGN_OR_RETURN(const TensorMap q_map, head_map(shape, call.q, shape.heads, shape.stride, kRows));
  ASSIGN_OR_RETURN(const TensorMap k_map, head_map(shape, call.k, shape.kv_heads, shape.stride, kColumns<kSize>));
  ASSIGN_OR_RETURN(const TensorMap v_map, head_map(shape, call.v, shape.kv_heads, shape.stride, kColumns<kSize>));
  const dim3 grid(static_cast<unsigned>((shape.length + kRows - 1) / kRows), static_cast<unsigned>(shape.heads),
                  static_cast<unsigned>(shape.sequences));
  const Arguments arguments{call.out,
                            call.log_sum,
                            shape.out_stride,
                            static_cast<int>(shape.length),
                            static_cast<int>(shape.heads / shape.kv_heads),
                            static_cast<float>(std::log2(std::exp(1.0)) / std::sqrt(static_cast<double>(kSize)))};
  return launch("attention_forward_wgmma", attention_forward_wgmma_kernel<kSize>,
                {grid, kThreads, sizeof(Shared<kSize>)}, stream, q_map, k_map, v_map, arguments);
}

}  // namespace

Status attention_forward_wgmma(const AttentionForward& call, CudaStream stream) {
  return call.shape.size == 64 ? start<64>(call, stream) : start<128>(call, stream);
}

}  // namespace freshet::cuda
