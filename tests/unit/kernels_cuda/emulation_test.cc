// That the emulation sees the mistakes it is there for.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sums.cuh"
#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

class Emulation : public CudaTest {
 protected:
  // What the stream's work came to; the next work gets a stream without an error.
  Status renewed_status() {
    Status status = stream_->synchronize();
    auto other = Stream::create();
    stream_.emplace(*std::move(other));
    return status;
  }
};

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

__global__ void read_pairs(const float* from, unsigned at, float* out) {
  const float2 pair = *reinterpret_cast<const float2*>(from + at + 2 * threadIdx.x);
  out[threadIdx.x] = pair.x + pair.y;
}

TEST_F(Emulation, AnAccessThatIsNotOnTheBorderOfItsTypeEndsTheProcess) {
  Array<float> from(std::vector<float>(64, 1)), out(size_t{16});
  EXPECT_OK(launch("read_pairs", read_pairs, {1, 16}, stream(), from.data(), 2U, out.data()));
  expect_done();
  EXPECT_EQ(out.values(), std::vector<float>(16, 2));
  EXPECT_DEATH(
      {
        (void)launch("read_pairs", read_pairs, {1, 16}, stream(), from.data(), 1U, out.data());
        (void)stream_->synchronize();
      },
      "misaligned");
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

// Two buffers in turn; without the barrier, a thread begins to fill one that its neighbour still reads.
__global__ void copy_in_turn(const int* from, bool with_barrier, int* out) {
  int* shared = dynamic_shared<int>();
  for (unsigned round = 0; round < 4; ++round) {
    int* buffer = shared + round % 2 * blockDim.x;
    emulated::copy_async(buffer + threadIdx.x, from + round * blockDim.x + threadIdx.x, sizeof(int));
    emulated::commit_copies();
    emulated::wait_for_copies(0);
    if (with_barrier) __syncthreads();
    out[round * blockDim.x + threadIdx.x] = buffer[(threadIdx.x + 1) % blockDim.x];
  }
}

TEST_F(Emulation, ABufferThatIsFilledWhileOthersReadItShowsInTheResult) {
  std::vector<int> values(256), expected(256);
  for (int i = 0; i < 256; ++i) values[static_cast<size_t>(i)] = i;
  for (int i = 0; i < 256; ++i) expected[static_cast<size_t>(i)] = i / 64 * 64 + (i + 1) % 64;
  Array<int> from(values), out(size_t{256});
  for (bool with_barrier : {true, false}) {
    EXPECT_OK(launch("copy_in_turn", copy_in_turn, {1, 64, 512}, stream(), from.data(), with_barrier, out.data()));
    expect_done();
    EXPECT_EQ(out.values() == expected, with_barrier);
  }
}

__global__ void meet(unsigned expected_by_first, unsigned expected_by_second) {
  emulated::sync_some(1, threadIdx.x < 32 ? expected_by_first : expected_by_second);
}

TEST_F(Emulation, BarriersOfSomeThreadsAreForWholeWarpsThatExpectTheSame) {
  auto run = [&](unsigned first, unsigned second) {
    EXPECT_OK(launch("meet", meet, {1, 64}, stream_->get(), first, second));
    return renewed_status();
  };
  EXPECT_EQ(run(64, 64).message(), "");
  EXPECT_NE(run(64, 96).message().find("expect different numbers of them"), std::string::npos);
  EXPECT_NE(run(2, 2).message().find("not whole warps"), std::string::npos);
}

}  // namespace
}  // namespace freshet::cuda
