#include "worker/gpu/device_reducer.h"

#include <cstring>

#include "kernels/cuda/reduce.h"
#include "tests/unit/worker_gpu/reducing.h"
#include "tests/unit/worker_gpu/thread_gang.h"
#include "worker/gpu/staged_communicator.h"

namespace freshet::worker {
namespace {

using cuda::Array;
using cuda::Stream;

struct Case {
  int ranks = 1;
  ZeroStage stage = ZeroStage::kOne;
};

class DeviceReducerGang : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (cuda::device_count() == 0) GTEST_SKIP() << "there is no CUDA device";
  }
};

Status same_bits(const std::vector<float>& expected, const float* found, const std::string& what) {
  if (expected.empty() || std::memcmp(expected.data(), found, expected.size() * sizeof(float)) == 0) {
    return Status::ok();
  }
  size_t first = 0;
  while (std::memcmp(&expected[first], &found[first], sizeof(float)) == 0) ++first;
  return corrupt(what + ": element " + std::to_string(first) + " is " + std::to_string(found[first]) + " and not " +
                 std::to_string(expected[first]));
}

// Steps of all sizes in a row, also such in which some ranks have no micro-batch.
TEST_P(DeviceReducerGang, GivesTheBitsOfTheCpu) {
  for (const size_t leaves_max : {8, 11}) {
    const Status status = run_thread_gang(GetParam().ranks, [&](Communicator& comm) -> Status {
      StagedDeviceCommunicator staged(&comm);
      ASSIGN_OR_RETURN(auto reducer,
                       DeviceReducer::create(&staged, kParameters, leaves_max, kBuckets, GetParam().stage));
      ASSIGN_OR_RETURN(Stream stream, Stream::create());
      for (size_t leaves = 1; leaves <= leaves_max; leaves += 1 + leaves / 4) {
        std::vector<Array<float>> kept;
        kept.reserve(leaves);
        const Array<float> total(kParameters);
        RETURN_IF_ERROR(reduce_step(leaves, total, &reducer, &kept, &stream));
        RETURN_IF_ERROR(reducer.all_gather("totals", total.data(), sizeof(float), &stream));
        RETURN_IF_ERROR(stream.synchronize());
        const auto found = total.values();
        ASSIGN_OR_RETURN(const auto segment, segment_on_cpu(comm, leaves, leaves_max));
        const std::string what = std::to_string(leaves) + " leaves";
        RETURN_IF_ERROR(same_bits(segment, found.data() + reducer.segment().begin, what));
        SingleCommunicator alone;
        ASSIGN_OR_RETURN(const auto all, segment_on_cpu(alone, leaves, leaves_max));
        RETURN_IF_ERROR(same_bits(all, found.data(), what + ", gathered"));
      }
      return Status::ok();
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

INSTANTIATE_TEST_SUITE_P(Ranks, DeviceReducerGang,
                         testing::Values(Case{1, ZeroStage::kOne}, Case{2, ZeroStage::kOne}, Case{3, ZeroStage::kOne},
                                         Case{4, ZeroStage::kOne}, Case{8, ZeroStage::kOne}, Case{1, ZeroStage::kTwo},
                                         Case{2, ZeroStage::kTwo}, Case{3, ZeroStage::kTwo}, Case{4, ZeroStage::kTwo},
                                         Case{8, ZeroStage::kTwo}),
                         [](const auto& tested) {
                           return std::to_string(tested.param.ranks) +
                                  (tested.param.stage == ZeroStage::kOne ? "Zero1" : "Zero2");
                         });

}  // namespace
}  // namespace freshet::worker
