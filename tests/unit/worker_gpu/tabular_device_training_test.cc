// The trainer's loop over a recommender on a device: its tables are in checkpoints and come back from them.
#include <gmock/gmock.h>

#include <cstring>
#include <limits>

#include "tests/unit/kernels_cuda/support.h"
#include "tests/unit/worker/temp_dir.h"
#include "tests/unit/worker_gpu/tabular_device_training.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;

void expect_same(const TabularDeviceTraining& expected, const TabularDeviceTraining& found) {
  for (const auto& [a, b] : {std::pair{expected.weights, found.weights},
                             {expected.m, found.m},
                             {expected.v, found.v},
                             {expected.row_sums, found.row_sums}}) {
    ASSERT_EQ(a.size(), b.size());
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0);
  }
  EXPECT_EQ(expected.skipped, found.skipped);
}

class TabularDeviceTrainingTest : public cuda::CudaTest {
 protected:
  SingleCommunicator alone_;
  TempDir directory_;
};

TEST_F(TabularDeviceTrainingTest, GoesOnFromACheckpointWithTheSameBits) {
  TabularDeviceTraining whole;
  EXPECT_OK(whole.run(&alone_));
  ASSERT_EQ(whole.losses.size(), 10U);
  ASSERT_EQ(whole.weights.size(), whole.model.parameters());
  ASSERT_EQ(whole.row_sums.size(), 23U + 11U);
  for (uint64_t stop_after : {3, 6, 9}) {
    TabularDeviceTraining cut, resumed;
    cut.checkpoints = resumed.checkpoints = directory_.path() / std::to_string(stop_after);
    cut.stop_after = stop_after;
    EXPECT_EQ(cut.run(&alone_).message(), "stopped");
    resumed.epoch = 2;
    EXPECT_OK(resumed.run(&alone_));
    // What is due after step 6 is begun before step 7 is.
    EXPECT_THAT(resumed.resumed_from, ElementsAre(stop_after == 6 ? 4 : stop_after / 2 * 2));
    expect_same(whole, resumed);
  }
}

// A batch that fails is tried again from the start or the newest checkpoint, and then left out: the tables are as if it
// had never been.
TEST_F(TabularDeviceTrainingTest, ABatchThatIsLeftOutLeavesNothingInTheTables) {
  TabularDeviceTraining training, told;
  for (auto* each : {&training, &told}) {
    each->rows.numeric[0][50] = std::numeric_limits<float>::infinity();
    each->options.guards.rollbacks_max = 3;
  }
  training.checkpoints = directory_.path();
  EXPECT_OK(training.run(&alone_));
  ASSERT_EQ(training.skipped.size(), 2U) << "once in each pass";
  for (float value : training.weights) ASSERT_TRUE(std::isfinite(value));
  told.options.guards.skipped_steps = training.skipped;
  EXPECT_OK(told.run(&alone_));
  expect_same(training, told);
}

}  // namespace
}  // namespace freshet::worker
