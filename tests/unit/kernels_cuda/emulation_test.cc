// That the emulation sees the mistakes it is there for.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sums.cuh"
#include "kernels/cuda/wgmma.cuh"
#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

using Emulation = CudaTest;

// Each thread takes its right neighbour's number, with or without the barrier that this needs.
__global__ void rotate(bool with_barrier, int* out) {
  int* shared = dynamic_shared<int>();
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (with_barrier) __syncthreads();
  out[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}

TEST_F(Emulation, AMissingBarrierShowsInTheResult) {
  std::vector<int> expected(96);
  for (int i = 0; i < 96; ++i) expected[static_cast<size_t>(i)] = (i + 1) % 96;
  Array<int> out(size_t{96});
  EXPECT_OK(launch("rotate", rotate, {1, 96, 96 * sizeof(int)}, stream(), true, out.data()));
  expect_done();
  EXPECT_EQ(out.values(), expected);
  EXPECT_OK(launch("rotate", rotate, {1, 96, 96 * sizeof(int)}, stream(), false, out.data()));
  expect_done();
  EXPECT_NE(out.values(), expected);
}

__global__ void half_waits() {
  if (threadIdx.x < 32) emulated::sync_some(1, 64);
  __syncthreads();
}

TEST_F(Emulation, ThreadsThatWaitForEachOtherAreAnErrorOfTheStream) {
  EXPECT_OK(launch("half_waits", half_waits, {1, 64}, stream()));
  const Status status = stream_->synchronize();
  EXPECT_NE(status.message().find("half_waits: the threads of block (0, 0, 0) wait for each other"), std::string::npos)
      << status.to_string();
  EXPECT_NE(status.message().find("32 for __syncthreads"), std::string::npos) << status.to_string();
}

__global__ void write_behind(int* out, unsigned at) { out[at + threadIdx.x] = 1; }

TEST_F(Emulation, WritingBehindAnArrayEndsTheProcess) {
  Array<int> out(size_t{64});
  EXPECT_DEATH(
      {
        (void)launch("write_behind", write_behind, {1, 64}, stream(), out.data(), 4U);
        (void)stream_->synchronize();
      },
      "");
}

__global__ void copy_late(const int* from, bool wait, int* out) {
  int* shared = dynamic_shared<int>();
  emulated::copy_async(shared + threadIdx.x, from + threadIdx.x, sizeof(int));
  emulated::commit_copies();
  if (wait) emulated::wait_for_copies(0);
  out[threadIdx.x] = shared[threadIdx.x];
}

TEST_F(Emulation, AnAsynchronousCopyArrivesWhenItIsWaitedFor) {
  Array<int> from(std::vector<int>(32, 7)), out(size_t{32});
  EXPECT_OK(launch("copy_late", copy_late, {1, 32, 128}, stream(), from.data(), false, out.data()));
  expect_done();
  EXPECT_EQ(out.values(), std::vector<int>(32, -1)) << "shared memory begins full of ones";
  EXPECT_OK(launch("copy_late", copy_late, {1, 32, 128}, stream(), from.data(), true, out.data()));
  expect_done();
  EXPECT_EQ(out.values(), std::vector<int>(32, 7));
}

__global__ void warp_numbers(unsigned* out) {
  const unsigned lane = threadIdx.x % 32;
  unsigned sum = warp_sum(threadIdx.x);
  sum += __shfl_sync(kFullMask, lane, 5) + __shfl_up_sync(kFullMask, lane, 1U) + __shfl_down_sync(kFullMask, lane, 2U);
  out[threadIdx.x] = sum + __ballot_sync(kFullMask, lane < 3);
}

TEST_F(Emulation, WarpOperationsAreThoseOfCuda) {
  Array<unsigned> out(size_t{64});
  EXPECT_OK(launch("warp_numbers", warp_numbers, {1, 64}, stream(), out.data()));
  expect_done();
  const auto values = out.values();
  for (unsigned thread = 0; thread < 64; ++thread) {
    const unsigned lane = thread % 32, sum = thread < 32 ? 496 : 1520;
    const unsigned up = lane >= 1 ? lane - 1 : lane, down = lane + 2 < 32 ? lane + 2 : lane;
    EXPECT_EQ(values[thread], sum + 5 + up + down + 7) << thread;
  }
}

TEST_F(Emulation, AStreamDoesItsWorkWhenItIsWaitedFor) {
  auto host = PinnedMemory::allocate(4);
  ASSERT_TRUE(host.is_ok());
  Array<int> device(std::vector<int>{0});
  *host->data<int>() = 1;
  EXPECT_OK(copy_to_device(device.data(), host->data(), 4, stream()));
  *host->data<int>() = 2;  // too early: what the copy takes is what lies there when it runs
  expect_done();
  EXPECT_EQ(device.values(), std::vector<int>{2});
}

enum class Mistake { kNone, kNoWait, kTooFewBytes, kTooManyBytes };

// Moves a tile of 8 x 32 floats.
__global__ void load_tile(const __grid_constant__ TensorMap map, Mistake mistake, float* out) {
  float* tile = dynamic_shared<float>();
  uint64_t* full = reinterpret_cast<uint64_t*>(tile + 256);
  if (threadIdx.x == 0) {
    mbarrier_init(full, 1);
    mbarrier_init_fence();
    const unsigned bytes = mistake == Mistake::kTooManyBytes ? 2048 : mistake == Mistake::kTooFewBytes ? 512 : 1024;
    mbarrier_arrive_expect(full, bytes);
    tma_load(tile, &map, full, 0, 0);
  }
  __syncthreads();
  if (mistake != Mistake::kNoWait) mbarrier_wait(full, 0);
  for (unsigned i = threadIdx.x; i < 256; i += blockDim.x) out[i] = tile[i];
}

TEST_F(Emulation, ATileIsThereWhenItsBarrierSaysSo) {
  Array<float> from(std::vector<float>(256, 7)), out(size_t{256});
  TensorMapShape shape;
  shape.element = TensorMapShape::Element::kFloat32;
  shape.data = from.data();
  shape.extents = {32, 8};
  shape.strides = {1, 32};
  shape.box = {32, 8};
  auto map = make_tensor_map(shape);
  ASSERT_TRUE(map.is_ok()) << map.status().to_string();
  auto run = [&](Mistake mistake) {
    EXPECT_OK(launch("load_tile", load_tile, {1, 32, 1024 + 8}, stream_->get(), *map, mistake, out.data()));
    auto other = Stream::create();
    Status status = stream_->synchronize();
    stream_.emplace(*std::move(other));
    return status.message();
  };
  EXPECT_EQ(run(Mistake::kNone), "");
  EXPECT_EQ(out.values(), std::vector<float>(256, 7));
  EXPECT_EQ(run(Mistake::kNoWait), "load_tile: a tile that was loaded was never waited for");
  for (Mistake mistake : {Mistake::kTooFewBytes, Mistake::kTooManyBytes}) {
    EXPECT_NE(run(mistake).find("32 for a barrier in shared memory"), std::string::npos);
  }
}

// Writes its operands itself: 1 everywhere.
__global__ void multiply_ones(bool wait, bool overwrite, float* out) {
  unsigned* operands = dynamic_shared<unsigned>();
  for (unsigned i = threadIdx.x; i < 4096; i += blockDim.x) operands[i] = 0x3F803F80;
  fence_async_proxy();
  __syncthreads();
  float sums[32] = {};
  wgmma_fence();
  wgmma<64>(sums, k_major_descriptor(operands), k_major_descriptor(operands + 2048), true);
  wgmma_commit();
  if (overwrite) operands[2048 + threadIdx.x] = 0;
  if (wait) wgmma_wait<0>();
  out[threadIdx.x] = sums[0];
  if (!wait) wgmma_wait<0>();
}

TEST_F(Emulation, AProductIsThereWhenItWasWaitedFor) {
  const std::vector<float> right(128, 16);
  Array<float> out(size_t{128});
  auto run = [&](bool wait, bool overwrite) {
    EXPECT_OK(launch("multiply_ones", multiply_ones, {1, 128, 16384}, stream(), wait, overwrite, out.data()));
    expect_done();
    return out.values();
  };
  EXPECT_EQ(run(true, false), right);
  for (float value : run(false, false)) EXPECT_TRUE(std::isnan(value));
  EXPECT_NE(run(true, true), right) << "operands that change before the wait";
}

}  // namespace
}  // namespace freshet::cuda
