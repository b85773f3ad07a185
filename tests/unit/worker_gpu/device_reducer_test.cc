#include "worker/gpu/device_reducer.h"

#include "kernels/cuda/reduce.h"
#include "tests/unit/worker_gpu/reducing.h"
#include "tests/unit/worker_gpu/thread_gang.h"
#include "worker/gpu/staged_communicator.h"

namespace freshet::worker {
namespace {

using cuda::Array;
using cuda::Stream;

class DeviceReducerGang : public testing::TestWithParam<GangCase> {
 protected:
  void SetUp() override {
    if (cuda::device_count() == 0) GTEST_SKIP() << "there is no CUDA device";
  }
};

TEST_P(DeviceReducerGang, GivesTheBitsOfTheCpu) {
  for (const size_t leaves_max : {8, 11}) {
    const Status status = run_thread_gang(GetParam().ranks, [&](Communicator& comm) {
      StagedDeviceCommunicator staged(&comm);
      return reduce_like_the_cpu(&staged, comm, leaves_max, GetParam().stage);
    });
    EXPECT_TRUE(status.is_ok()) << status.to_string();
  }
}

TEST_P(DeviceReducerGang, GathersBlocks) {
  const Status status = run_thread_gang(GetParam().ranks, [&](Communicator& comm) -> Status {
    StagedDeviceCommunicator staged(&comm);
    ASSIGN_OR_RETURN(auto reducer, DeviceReducer::create(&staged, kParameters, 8, kBuckets, GetParam().stage));
    ASSIGN_OR_RETURN(Stream stream, Stream::create());
    const auto values = leaf_gradient(0);
    std::vector<double> expected(6);
    kernels::block_sums_of_squares(kParameters, values.data(), expected.data());
    const Array<float> on_device(values);
    const Array<double> blocks(expected.size());
    const Range segment = reducer.segment();
    RETURN_IF_ERROR(cuda::block_sums_of_squares(segment.size(), on_device.data() + segment.begin,
                                                blocks.data() + segment.begin / kernels::kBlock, stream.get()));
    RETURN_IF_ERROR(reducer.all_gather_blocks("squares", blocks.data(), &stream));
    RETURN_IF_ERROR(stream.synchronize());
    return blocks.values() == expected ? Status::ok() : corrupt("sums of squares");
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
}

INSTANTIATE_TEST_SUITE_P(Ranks, DeviceReducerGang, testing::ValuesIn(gang_cases()),
                         [](const auto& tested) { return tested.param.name(); });

}  // namespace
}  // namespace freshet::worker
