// The NCCL that is linked, as far as one GPU goes: a communicator of one rank. That several ranks do the right thing is
// proven with a fake (nccl_communicator_test.cc).
#include "worker/gpu/linked_nccl.h"

#include "tests/unit/kernels_cuda/support.h"
#include "worker/gpu/nccl_communicator.h"

namespace freshet::worker {
namespace {

using LinkedNccl = cuda::CudaTest;

TEST_F(LinkedNccl, JoinsAndFinishesAlone) {
  SingleCommunicator bootstrap;
  const SystemClock clock;
  auto device = NcclCommunicator::create(linked_nccl(), &bootstrap, &clock, {});
  ASSERT_TRUE(device.is_ok()) << device.status().to_string();
  auto done = cuda::Event::create();
  ASSERT_TRUE(done.is_ok());
  const cuda::Array<float> part(std::vector<float>{1, 2, 3}), all(3);
  (*device)->begin_step();
  EXPECT_OK((*device)->all_gather("parts", std::as_bytes(std::span(part.data(), 3)),
                                  {std::as_writable_bytes(std::span(all.data(), 3))}, &*stream_));
  EXPECT_OK((*device)->exchange("nothing", {Bytes()}, {MutableBytes()}, &*stream_));
  EXPECT_OK(done->record(stream()));
  EXPECT_OK((*device)->wait(*done, 1));
  EXPECT_EQ(all.values(), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ((*device)->progress().left.number, 1U);
  EXPECT_OK((*device)->finish());
}

TEST_F(LinkedNccl, AbortsWhatIsNotFinished) {
  SingleCommunicator bootstrap;
  const SystemClock clock;
  auto device = NcclCommunicator::create(linked_nccl(), &bootstrap, &clock, {});
  ASSERT_TRUE(device.is_ok()) << device.status().to_string();
}

}  // namespace
}  // namespace freshet::worker
