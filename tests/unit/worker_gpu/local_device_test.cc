#include "worker/gpu/local_device.h"

#include "tests/unit/kernels_cuda/support.h"

namespace freshet::worker {
namespace {

TEST(LocalDevice, EachRankHasItsOwn) {
  for (int rank = 0; rank < 4; ++rank) {
    auto device = choose_local_device(rank, 4, 8, nullptr, DeviceSharing::kNone);
    ASSERT_TRUE(device.is_ok()) << device.status().to_string();
    EXPECT_EQ(*device, rank);
  }
}

TEST(LocalDevice, TooFewSayWhatToDo) {
  const auto device = choose_local_device(0, 4, 2, "5,6", DeviceSharing::kNone);
  EXPECT_EQ(device.status().code(), Code::kUnavailable);
  EXPECT_EQ(device.status().message(),
            "this machine runs 4 ranks of the gang, but each sees only 2 GPUs (CUDA_VISIBLE_DEVICES is \"5,6\"): ask "
            "for at most 2 ranks a machine, or let every rank see as many GPUs");
  EXPECT_EQ(choose_local_device(0, 1, 0, nullptr, DeviceSharing::kAny).status().message(),
            "this machine has no GPU that CUDA can use: see what nvidia-smi says, or train on the CPU");
}

TEST(LocalDevice, RanksMayShare) {
  for (int rank = 0; rank < 4; ++rank) {
    auto device = choose_local_device(rank, 4, 2, nullptr, DeviceSharing::kAny);
    ASSERT_TRUE(device.is_ok()) << device.status().to_string();
    EXPECT_EQ(*device, rank % 2);
  }
}

using LocalDeviceInUse = cuda::CudaTest;

TEST_F(LocalDeviceInUse, IsTheFirstForARankAlone) {
  auto device = use_local_device(0, 1, DeviceSharing::kNone);
  ASSERT_TRUE(device.is_ok()) << device.status().to_string();
  EXPECT_EQ(*device, 0);
}

}  // namespace
}  // namespace freshet::worker
