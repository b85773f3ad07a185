#include "tests/unit/kernels_cuda/wgmma_kernels.h"

#include "kernels/cuda/tma.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace freshet::cuda {
namespace {

using kernels::Bfloat16;

constexpr unsigned kRowBytes = 128;
constexpr unsigned kTileBytes = 64 * kRowBytes;

struct Arguments {
  const Bfloat16* a;
  int k;
  float* d;
};

// Two stages, filled by thread 0; the tile of k has 128 bytes where it is the inner dimension, and 64 rows else.
template <int n, bool is_float8, bool a_mn_major, bool b_mn_major, bool a_in_registers>
__global__ void __launch_bounds__(128, 1)
    product_kernel(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b, Arguments given) {
  constexpr int kTile = is_float8 ? 128 : 64;
  constexpr unsigned kStage = kTileBytes + n * kRowBytes;
  std::byte* const stages = dynamic_shared();
  uint64_t* const full = reinterpret_cast<uint64_t*>(stages + 2 * kStage);
  if (threadIdx.x == 0) {
    mbarrier_init(full, 1);
    mbarrier_init(full + 1, 1);
    mbarrier_init_fence();
  }
  __syncthreads();
  const int tiles = given.k / kTile;
  auto fill = [&](int tile) {
    std::byte* const stage = stages + tile % 2 * kStage;
    uint64_t* const barrier = full + tile % 2;
    mbarrier_arrive_expect(barrier, kStage);
    a_mn_major ? tma_load(stage, &map_a, barrier, 0, tile * kTile) : tma_load(stage, &map_a, barrier, tile * kTile, 0);
    if constexpr (b_mn_major) {
      for (int block = 0; block < n / 64; ++block) {
        tma_load(stage + (1 + block) * kTileBytes, &map_b, barrier, block * 64, tile * kTile);
      }
    } else {
      tma_load(stage + kTileBytes, &map_b, barrier, tile * kTile, 0);
    }
  };
  float sums[n / 2] = {};
  if (threadIdx.x == 0) fill(0);
  const unsigned row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
  for (int tile = 0; tile < tiles; ++tile) {
    if (threadIdx.x == 0 && tile + 1 < tiles) fill(tile + 1);
    mbarrier_wait(full + tile % 2, static_cast<unsigned>(tile / 2 % 2));
    const std::byte* const stage = stages + tile % 2 * kStage;
    const uint64_t a = a_mn_major ? mn_major_descriptor(stage, kTileBytes) : k_major_descriptor(stage);
    const uint64_t b =
        b_mn_major ? mn_major_descriptor(stage + kTileBytes, kTileBytes) : k_major_descriptor(stage + kTileBytes);
    unsigned registers[4][4] = {};
    if constexpr (a_in_registers) {
#pragma unroll
      for (unsigned step = 0; step < 4; ++step) {
#pragma unroll
        for (unsigned i = 0; i < 4; ++i) {
          const Bfloat16* from = given.a + (row + i % 2 * 8) * static_cast<unsigned>(given.k) +
                                 static_cast<unsigned>(tile) * kTile + step * 16 + i / 2 * 8 + column;
          registers[step][i] = *reinterpret_cast<const unsigned*>(from);
        }
      }
    }
    fence_registers(sums);
    fence_registers(registers);
    wgmma_fence();
#pragma unroll
    for (unsigned step = 0; step < 4; ++step) {
      const bool accumulate = tile > 0 || step > 0;
      const uint64_t a_step = descriptor_at(a, step * (a_mn_major ? 2048 : 32));
      const uint64_t b_step = descriptor_at(b, step * (b_mn_major ? 2048 : 32));
      if constexpr (is_float8) {
        wgmma_float8<n>(sums, a_step, b_step, accumulate);
      } else if constexpr (a_in_registers) {
        wgmma<n, b_mn_major>(sums, registers[step], b_step, accumulate);
      } else {
        wgmma<n, a_mn_major, b_mn_major>(sums, a_step, b_step, accumulate);
      }
    }
    wgmma_commit();
    wgmma_wait<0>();
    fence_registers(sums);
    __syncthreads();  // the next tile but one goes into this stage
  }
#pragma unroll
  for (unsigned i = 0; i < n / 2; ++i) {
    given.d[(row + i / 2 % 2 * 8) * n + i / 4 * 8 + column + i % 2] = sums[i];
  }
}

template <int n, bool is_float8, bool a_mn_major, bool b_mn_major, bool a_in_registers>
Status start(const WarpgroupTest& test, void* a, void* b, float* d, CudaStream stream) {
  using Element = TensorMapShape::Element;
  auto make = [&](void* data, size_t rows, bool is_mn_major) {
    TensorMapShape shape;
    shape.element = is_float8 ? Element::kFloat8 : Element::kBfloat16;
    shape.data = data;
    shape.extents = {is_mn_major ? rows : test.k, is_mn_major ? test.k : rows};
    shape.strides = {1, shape.extents[0]};
    shape.box = {is_float8 ? 128U : 64U, is_mn_major ? 64U : static_cast<unsigned>(rows)};
    return make_tensor_map(shape);
  };
  ASSIGN_OR_RETURN(const TensorMap map_a, make(a, 64, a_mn_major));
  ASSIGN_OR_RETURN(const TensorMap map_b, make(b, n, b_mn_major));
  return launch("warpgroup test", product_kernel<n, is_float8, a_mn_major, b_mn_major, a_in_registers>,
                {1, 128, 2 * (kTileBytes + n * kRowBytes) + 16}, stream, map_a, map_b,
                Arguments{static_cast<const Bfloat16*>(a), static_cast<int>(test.k), d});
}

template <int n>
Status start_of(const WarpgroupTest& test, void* a, void* b, float* d, CudaStream stream) {
  if (test.a_in_registers) {
    return test.b_mn_major ? start<n, false, false, true, true>(test, a, b, d, stream)
                           : start<n, false, false, false, true>(test, a, b, d, stream);
  }
  if (test.a_mn_major) {
    return test.b_mn_major ? start<n, false, true, true, false>(test, a, b, d, stream)
                           : start<n, false, true, false, false>(test, a, b, d, stream);
  }
  return test.b_mn_major ? start<n, false, false, true, false>(test, a, b, d, stream)
                         : start<n, false, false, false, false>(test, a, b, d, stream);
}

template <int rank>
__global__ void __launch_bounds__(32) move_kernel(const __grid_constant__ TensorMap from,
                                                  const __grid_constant__ TensorMap to, dim3 box, unsigned bytes) {
  std::byte* const tile = dynamic_shared();
  uint64_t* const full = reinterpret_cast<uint64_t*>(tile + (bytes + 7) / 8 * 8);
  const int x = static_cast<int>(blockIdx.x * box.x), y = static_cast<int>(blockIdx.y * box.y);
  const int z = static_cast<int>(blockIdx.z * box.z);
  if (threadIdx.x == 0) {
    tma_prefetch_map(&from);
    mbarrier_init(full, 1);
    mbarrier_init_fence();
    mbarrier_arrive_expect(full, bytes);
    if constexpr (rank == 2) tma_load(tile, &from, full, x, y);
    if constexpr (rank == 3) tma_load(tile, &from, full, x, y, z);
    if constexpr (rank == 4) tma_load(tile, &from, full, x, y, z, 0);
  }
  __syncthreads();
  mbarrier_wait(full, 0);
  if (threadIdx.x == 0) {
    if constexpr (rank == 2) tma_store(&to, x, y, tile);
    if constexpr (rank == 3) tma_store(&to, x, y, z, tile);
    if constexpr (rank == 4) tma_store(&to, x, y, z, 0, tile);
    tma_store_commit();
    tma_store_wait<0>();
  }
}

}  // namespace

Status run_warpgroup_test(const WarpgroupTest& test, void* a, void* b, float* d, CudaStream stream) {
  if (test.is_float8) {
    return test.n == 128 ? start<128, true, false, false, false>(test, a, b, d, stream)
                         : start<256, true, false, false, false>(test, a, b, d, stream);
  }
  switch (test.n) {
    case 64:
      return start_of<64>(test, a, b, d, stream);
    case 128:
      return start_of<128>(test, a, b, d, stream);
    case 192:
      return start_of<192>(test, a, b, d, stream);
    default:
      return start_of<256>(test, a, b, d, stream);
  }
}

Status move_tiles(const TensorMapShape& from, const TensorMapShape& to, CudaStream stream) {
  ASSIGN_OR_RETURN(const TensorMap from_map, make_tensor_map(from));
  ASSIGN_OR_RETURN(const TensorMap to_map, make_tensor_map(to));
  unsigned bytes = 4, blocks[3] = {1, 1, 1};
  for (unsigned d = 0; d < from.rank; ++d) {
    bytes *= from.box[d];
    if (d < 3) blocks[d] = static_cast<unsigned>((from.extents[d] + from.box[d] - 1) / from.box[d]);
  }
  const dim3 box(from.box[0], from.box[1], from.box[2]);
  const LaunchShape shape{{blocks[0], blocks[1], blocks[2]}, 32, (bytes + 7) / 8 * 8 + 8};
  if (from.rank == 2) return launch("move", move_kernel<2>, shape, stream, from_map, to_map, box, bytes);
  if (from.rank == 3) return launch("move", move_kernel<3>, shape, stream, from_map, to_map, box, bytes);
  return launch("move", move_kernel<4>, shape, stream, from_map, to_map, box, bytes);
}

}  // namespace freshet::cuda
