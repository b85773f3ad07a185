// The trainer's loop over a recommender on a device: its tables are in checkpoints and come back from them.
#include <gmock/gmock.h>

#include <limits>

#include "tests/unit/kernels_cuda/support.h"
#include "tests/unit/worker/temp_dir.h"
#include "tests/unit/worker_gpu/tabular_device_training.h"
#include "tests/unit/worker_gpu/thread_gang.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;

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

class TabularDeviceGang : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (cuda::device_count() == 0) GTEST_SKIP() << "there is no CUDA device";
  }
  using Trainings = std::vector<std::unique_ptr<TabularDeviceTraining>>;
  static Trainings trainings(int ranks, const TabularShape& shape) {
    Trainings made;
    for (int rank = 0; rank < ranks; ++rank) made.push_back(std::make_unique<TabularDeviceTraining>(shape));
    return made;
  }
  static Status run(const Trainings& trainings) {
    return run_thread_gang(static_cast<int>(trainings.size()),
                           [&](Communicator& comm) { return trainings[static_cast<size_t>(comm.rank())]->run(&comm); });
  }
  SingleCommunicator alone_;
  TempDir directory_;
};

// Also where some ranks own no table, and where the kernels for widths that are multiples of 4 would do for some.
TEST_P(TabularDeviceGang, HasTheBitsOfOneRank) {
  for (const TabularShape& shape : {shape_of_four(12), shape_of_four(7), recommender_shapes().at("side by side")}) {
    TabularDeviceTraining one(shape);
    EXPECT_OK(one.run(&alone_));
    ASSERT_EQ(one.losses.size(), 10U);
    const auto gang = trainings(GetParam(), shape);
    EXPECT_OK(run(gang));
    expect_same(one, *gang[0]);
    for (const auto& rank : gang) EXPECT_EQ(rank->losses, one.losses);
  }
}

TEST_P(TabularDeviceGang, GoesOnFromACheckpointOfAnotherNumberOfRanks) {
  TabularDeviceTraining one(shape_of_four(12));
  EXPECT_OK(one.run(&alone_));
  for (const auto& [before, after] : {std::pair{1, GetParam()}, std::pair{GetParam(), GetParam() % 4 + 1}}) {
    const auto cut = trainings(before, shape_of_four(12)), resumed = trainings(after, shape_of_four(12));
    const auto where = directory_.path() / std::to_string(before);
    for (const auto& rank : cut) {
      rank->checkpoints = where;
      rank->stop_after = 5;
    }
    EXPECT_EQ(run(cut).code(), Code::kCancelled);
    for (const auto& rank : resumed) {
      rank->checkpoints = where;
      rank->epoch = 2;
    }
    EXPECT_OK(run(resumed));
    EXPECT_THAT(resumed[0]->resumed_from, ElementsAre(4));
    expect_same(one, *resumed[0]);
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, TabularDeviceGang, testing::Values(2, 3, 4));

// Micro-batches of a rank that are no neighbours would have to be sent one by one.
TEST_F(TabularDeviceTrainingTest, TablesAreSharedOutOverNeighboursOnly) {
  const Status status = run_thread_gang(2, [](Communicator& comm) -> Status {
    TabularDeviceTraining training;
    StagedDeviceCommunicator devices(&comm);
    ASSIGN_OR_RETURN(auto objective, TabularDeviceObjective::create(training.model, training.rows, training.options,
                                                                    *training.options.embeddings, {}, &devices));
    return DeviceStep::create(objective.get(), training.options, {&comm, &devices}, training.start(), true,
                              ZeroStage::kTwo)
        .status();
  });
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace freshet::worker
