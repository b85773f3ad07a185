// That the emulation of the copy engine, its barriers and the warpgroups' products sees the mistakes that only a GPU
// would punish. Each kernel is right without a mistake.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/wgmma.cuh"
#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

class AsyncEmulation : public CudaTest {
 protected:
  // Why the kernel failed; the next one gets a stream without an error.
  template <class... Parameters>
  std::string error_of(void (*kernel)(Parameters...), const LaunchShape& shape,
                       std::type_identity_t<Parameters>... arguments) {
    EXPECT_OK(launch("kernel", kernel, shape, stream_->get(), arguments...));
    const std::string message = stream_->synchronize().message();
    auto other = Stream::create();
    stream_.emplace(*std::move(other));
    return message;
  }
};

// An array of 64 rows of 128 bytes.
struct Tile {
  Array<Bfloat16> values{std::vector<Bfloat16>(4096, 0x3F80)};  // ones

  TensorMap map(unsigned rows_of_tile = 64, bool is_swizzled = true) const {
    TensorMapShape shape;
    shape.data = values.data();
    shape.extents = {64, 64};
    shape.strides = {1, 64};
    shape.box = {64, rows_of_tile};
    shape.is_swizzled = is_swizzled;
    auto made = make_tensor_map(shape);
    CHECK_MSG(made.is_ok(), made.status().to_string());
    return *made;
  }
};

constexpr unsigned kTileBytes = 8192;

enum class Loading {
  kRight,
  kNoWait,
  kTooFewBytes,
  kTooManyBytes,
  kNoBytes,
  kNoInit,
  kNoInitFence,
  kInitTwice,
  kOverwrittenBarrier,
  kArrivesTwice,
  kPhasesBehind,
  kWritesBefore,
  kWritesBeside,
  kLoadsTwice,
};

__global__ void load_tile(const __grid_constant__ TensorMap map, Loading mistake, unsigned* out) {
  unsigned* tile = dynamic_shared<unsigned>();
  uint64_t* full = reinterpret_cast<uint64_t*>(tile + kTileBytes / 4);
  if (threadIdx.x == 0) {
    if (mistake != Loading::kNoInit) mbarrier_init(full, mistake == Loading::kArrivesTwice ? 2 : 1);
    if (mistake == Loading::kInitTwice) mbarrier_init(full, 1);
    if (mistake != Loading::kNoInitFence) mbarrier_init_fence();
  }
  if (mistake == Loading::kWritesBefore) tile[threadIdx.x] = threadIdx.x;
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned bytes = kTileBytes;
    if (mistake == Loading::kTooFewBytes) bytes /= 2;
    if (mistake == Loading::kTooManyBytes || mistake == Loading::kLoadsTwice) bytes *= 2;
    if (mistake == Loading::kNoBytes) {
      tma_load(tile, &map, full, 0, 0);
      mbarrier_arrive(full);
    } else {
      mbarrier_arrive_expect(full, bytes);
      if (mistake == Loading::kArrivesTwice) mbarrier_arrive(full);
      tma_load(tile, &map, full, 0, 0);
    }
    if (mistake == Loading::kLoadsTwice) tma_load(tile, &map, full, 0, 0);
    if (mistake == Loading::kWritesBeside) tile[5] = 7;
    if (mistake == Loading::kOverwrittenBarrier) *full = 0;
    if (mistake == Loading::kPhasesBehind) {
      for (unsigned parity : {0U, 1U, 0U}) {
        mbarrier_wait(full, parity);
        mbarrier_arrive(full);
      }
    }
  }
  if (mistake == Loading::kPhasesBehind) __syncthreads();
  if (mistake != Loading::kNoWait) mbarrier_wait(full, 0);
  for (unsigned i = threadIdx.x; i < kTileBytes / 4; i += blockDim.x) out[i] = tile[i];
}

TEST_F(AsyncEmulation, ATileIsLoadedByTheRules) {
  Tile ones;
  Array<unsigned> out(size_t{kTileBytes / 4});
  auto expect_error = [&](Loading mistake, const std::string& expected) {
    const auto error = error_of(load_tile, {1, 32, kTileBytes + 8}, ones.map(), mistake, out.data());
    EXPECT_NE(error.find(expected), std::string::npos) << static_cast<int>(mistake) << ": " << error;
    EXPECT_EQ(error.empty(), expected.empty()) << error;
  };
  for (int i = 0; i < 4; ++i) {  // arrivals at once and late ones
    expect_error(Loading::kRight, "");
    EXPECT_EQ(out.values(), std::vector<unsigned>(kTileBytes / 4, 0x3F803F80));
    expect_error(Loading::kNoWait, "kernel: a tile that was loaded was never waited for");
    expect_error(Loading::kTooFewBytes, "more bytes came to a barrier than its phase expects");
    expect_error(Loading::kTooManyBytes, "32 for a barrier in shared memory");
    expect_error(Loading::kNoBytes, "a phase of a barrier is over before the copies that report to it");
    expect_error(Loading::kNoInit, "a barrier that was not initialised");
    expect_error(Loading::kNoInitFence, "a barrier without mbarrier_init_fence()");
    expect_error(Loading::kInitTwice, "a barrier is initialised twice");
    expect_error(Loading::kOverwrittenBarrier, "something was written over a barrier");
    expect_error(Loading::kArrivesTwice, "a thread arrives twice in one phase of a barrier");
    expect_error(Loading::kPhasesBehind, "a barrier was two phases ahead of a thread that waited for it");
    expect_error(Loading::kWritesBefore, "a tile that is loaded: threads wrote rows 0 to 0 of 128 bytes from byte 0");
    expect_error(Loading::kWritesBeside, "a tile that is loaded: threads wrote rows 0 to 0");
    expect_error(Loading::kLoadsTwice, "a tile that is loaded at byte 0 of shared memory meets a tile that is loaded");
  }
}

// Tiles of 8 rows take turns in one place of shared memory, which both warps read and then give back.
__global__ void load_in_turn(const __grid_constant__ TensorMap map, bool wait_for_readers, Bfloat16* out) {
  constexpr unsigned kBytes = kTileBytes / 8, kCount = kBytes / sizeof(Bfloat16);
  Bfloat16* tile = dynamic_shared<Bfloat16>();
  uint64_t* full = reinterpret_cast<uint64_t*>(tile + kCount);
  uint64_t* free = full + 1;
  if (threadIdx.x == 0) {
    mbarrier_init(full, 1);
    mbarrier_init(free, 2);
    mbarrier_init_fence();
  }
  __syncthreads();
  for (unsigned turn = 0; turn < 8; ++turn) {
    if (threadIdx.x == 0) {
      if (wait_for_readers) mbarrier_wait(free, turn % 2 ^ 1);
      mbarrier_arrive_expect(full, kBytes);
      tma_load(tile, &map, full, 0, static_cast<int>(turn * 8));
    }
    __syncwarp();
    mbarrier_wait(full, turn % 2);
    for (unsigned i = threadIdx.x; i < kCount; i += blockDim.x) out[turn * kCount + i] = tile[i];
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(free);
  }
}

TEST_F(AsyncEmulation, APlaceThatIsFilledBeforeAllHaveReadItShows) {
  std::vector<Bfloat16> values(4096);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<Bfloat16>(i);
  Tile tile{Array(values)};
  Array<Bfloat16> out(size_t{4096});
  auto is_right = [&](bool wait_for_readers) {
    const auto error =
        error_of(load_in_turn, {1, 64, kTileBytes / 8 + 16}, tile.map(8, false), wait_for_readers, out.data());
    return error.empty() && out.values() == values;
  };
  unsigned found = 0;  // when a warp happens to be slow
  for (int i = 0; i < 16; ++i) {
    EXPECT_TRUE(is_right(true));
    found += is_right(false) ? 0 : 1;
  }
  EXPECT_GT(found, 4U);
}

enum class Storing { kRight, kNoFence, kEarlyFence, kOneFence, kNoWait, kReuses };

__global__ void store_tile(const __grid_constant__ TensorMap map, Storing mistake) {
  unsigned* tile = dynamic_shared<unsigned>();
  if (mistake == Storing::kEarlyFence) fence_async_proxy();
  for (unsigned i = threadIdx.x; i < kTileBytes / 4; i += blockDim.x) tile[i] = 0x40004000;
  if (mistake == Storing::kOneFence ? threadIdx.x == 0
                                    : mistake != Storing::kNoFence && mistake != Storing::kEarlyFence)
    fence_async_proxy();
  __syncthreads();
  if (threadIdx.x == 0) {
    tma_store(&map, 0, 0, tile);
    tma_store_commit();
    if (mistake == Storing::kReuses) tile[40] = 0;
    if (mistake != Storing::kNoWait) tma_store_wait<0>();
  }
}

TEST_F(AsyncEmulation, ATileIsStoredByTheRules) {
  Tile target;
  auto run = [&](Storing mistake) { return error_of(store_tile, {1, 64, kTileBytes}, target.map(), mistake); };
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(run(Storing::kRight), "");
    EXPECT_EQ(target.values.values(), std::vector<Bfloat16>(4096, 0x4000));
    EXPECT_NE(run(Storing::kNoFence).find("a tile that is stored: threads wrote rows 0 to 63"), std::string::npos);
    EXPECT_NE(run(Storing::kEarlyFence).find("no fence_async_proxy() followed"), std::string::npos);
    EXPECT_NE(run(Storing::kNoWait).find("a tile that was stored was never waited for"), std::string::npos);
    EXPECT_NE(run(Storing::kReuses).find("threads wrote rows 1 to 1"), std::string::npos);
  }
  // A fence of one thread covers those that wrote before it by chance.
  unsigned found = 0;
  for (int i = 0; i < 16; ++i) found += run(Storing::kOneFence).empty() ? 0 : 1;
  EXPECT_GT(found, 8U);
}

enum class Multiplying {
  kRight,
  kNoProxyFence,
  kNoFence,
  kNoRegisterFence,
  kNoRegisterFenceBehind,
  kNoOperandFence,
  kReadsEarly,
  kTouchesEarly,
  kWritesSums,
  kWritesOperand,
  kWritesRegisters,
  kNoTileWait,
  kReloads,
  kNoWait,
  kWarpsDiffer,
  kWarpMissing,
  kOffBorder,
};

// 1 everywhere: threads write A, which is then in registers, too; the copy engine brings B.
__global__ void multiply(const __grid_constant__ TensorMap map, Multiplying mistake, float* out) {
  unsigned* a = dynamic_shared<unsigned>();
  unsigned* b = a + kTileBytes / 4;
  uint64_t* full = reinterpret_cast<uint64_t*>(b + kTileBytes / 4);
  if (threadIdx.x == 0) {
    mbarrier_init(full, 1);
    mbarrier_init_fence();
    mbarrier_arrive_expect(full, kTileBytes);
    tma_load(b, &map, full, 0, 0);
  }
  for (unsigned i = threadIdx.x; i < kTileBytes / 4; i += blockDim.x) a[i] = 0x3F803F80;
  if (mistake != Multiplying::kNoProxyFence) fence_async_proxy();
  __syncthreads();
  if (mistake != Multiplying::kNoTileWait) mbarrier_wait(full, 0);

  float sums[32] = {};
  unsigned registers[1][4] = {{0x3F803F80, 0x3F803F80, 0x3F803F80, 0x3F803F80}};
  if (mistake != Multiplying::kNoRegisterFence) fence_registers(sums);
  if (mistake != Multiplying::kNoOperandFence) fence_registers(registers);
  if (mistake != Multiplying::kNoFence) wgmma_fence();
  const unsigned warp = threadIdx.x / 32;
  const unsigned step = mistake == Multiplying::kOffBorder ? 16 : mistake == Multiplying::kWarpsDiffer ? warp * 32 : 0;
  wgmma<64>(sums, descriptor_at(k_major_descriptor(a), step), k_major_descriptor(b), true);
  if (mistake != Multiplying::kWarpMissing || warp != 3) wgmma<64>(sums, registers[0], k_major_descriptor(b), true);
  wgmma_commit();
  if (mistake == Multiplying::kWritesSums) sums[3] = 0;
  if (mistake == Multiplying::kWritesOperand && threadIdx.x == 96) a[64 * 32 - 1] = 0;
  if (mistake == Multiplying::kReloads && threadIdx.x == 0) {
    mbarrier_arrive_expect(full, kTileBytes);
    tma_load(b, &map, full, 0, 0);
  }
  if (mistake == Multiplying::kWritesRegisters) {
    registers[0][1] = 0;
    fence_registers(registers);
  }
  if (mistake == Multiplying::kTouchesEarly) fence_registers(sums);
  const float early = sums[0];
  if (mistake != Multiplying::kNoWait) wgmma_wait<0>();
  if (mistake != Multiplying::kNoRegisterFenceBehind) fence_registers(sums);
  out[threadIdx.x] = mistake == Multiplying::kReadsEarly ? early : sums[0];
}

TEST_F(AsyncEmulation, AProductIsMadeByTheRules) {
  Tile ones;
  Array<float> out(size_t{128});
  auto expect_error = [&](Multiplying mistake, const std::string& expected) {
    const auto error = error_of(multiply, {1, 128, 2 * kTileBytes + 8}, ones.map(), mistake, out.data());
    EXPECT_NE(error.find(expected), std::string::npos) << static_cast<int>(mistake) << ": " << error;
    EXPECT_EQ(error.empty(), expected.empty()) << error;
  };
  for (int i = 0; i < 4; ++i) {
    expect_error(Multiplying::kRight, "");
    EXPECT_EQ(out.values(), std::vector<float>(128, 32));
    expect_error(Multiplying::kNoProxyFence, "operand A of a product: threads wrote rows ");
    expect_error(Multiplying::kNoFence, "a warpgroup's product without a fence behind the last wait");
    expect_error(Multiplying::kNoRegisterFence, "without fence_registers() in front of the fence");
    expect_error(Multiplying::kNoOperandFence, "without fence_registers() in front of the fence");
    for (Multiplying mistake : {Multiplying::kNoRegisterFenceBehind, Multiplying::kReadsEarly}) {
      expect_error(mistake, "");
      for (float value : out.values()) EXPECT_TRUE(std::isnan(value));
    }
    expect_error(Multiplying::kTouchesEarly, "the sums of a product are touched before it was waited for");
    expect_error(Multiplying::kWritesSums, "the sums of a product were written before it was waited for");
    expect_error(Multiplying::kWritesOperand, "operand A of a product: threads wrote rows 15 to 15");
    expect_error(Multiplying::kWritesRegisters, "an operand in registers was written before its product");
    expect_error(Multiplying::kNoTileWait, "meets a tile that is loaded at byte 8192 that was not waited for");
    expect_error(Multiplying::kReloads, "a tile that is loaded at byte 8192 of shared memory meets operand B");
    expect_error(Multiplying::kNoWait, "the sums of a product are touched before it was waited for");
    expect_error(Multiplying::kWarpsDiffer, "the warps of a warpgroup issue different products");
    expect_error(Multiplying::kWarpMissing, "some warps of a warpgroup have issued a product without the others");
    expect_error(Multiplying::kOffBorder, "an operand that does not begin on its border");
  }
}

}  // namespace
}  // namespace freshet::cuda
