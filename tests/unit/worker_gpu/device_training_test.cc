// The trainer's loop over a device: what surrounds the steps while one is always ahead.
#include <gmock/gmock.h>

#include <algorithm>
#include <limits>

#include "tests/unit/kernels_cuda/support.h"
#include "tests/unit/worker/temp_dir.h"
#include "tests/unit/worker_gpu/device_training.h"
#include "tests/unit/worker_gpu/thread_gang.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;

// Eight steps of three micro-batches, a checkpoint after every second one.
DeviceTraining saved(const std::filesystem::path& where) {
  DeviceTraining training(3);
  training.checkpoints = where;
  return training;
}

class DeviceTrainingTest : public cuda::CudaTest {
 protected:
  SingleCommunicator alone_;
  TempDir directory_;
};

TEST_F(DeviceTrainingTest, GoesOnFromACheckpointWithTheSameBits) {
  DeviceTraining whole(3);
  EXPECT_OK(whole.run_on_device(&alone_));
  for (uint64_t stop_after : {4, 5, 7}) {
    const auto where = directory_.path() / std::to_string(stop_after);
    DeviceTraining cut = saved(where), resumed = saved(where);
    cut.stop_after = stop_after;
    EXPECT_EQ(cut.run_on_device(&alone_).message(), "stopped");
    resumed.epoch = 2;
    EXPECT_OK(resumed.run_on_device(&alone_));
    // What is due after step 4 is begun before step 5 is.
    EXPECT_THAT(resumed.resumed_from, ElementsAre(stop_after == 4 ? 2 : stop_after / 2 * 2));
    expect_same(whole, resumed);
  }
}

// The checkpoint was one rank's on a CPU, and has the device's bits.
TEST_F(DeviceTrainingTest, GoesOnFromACheckpointOfTheCpu) {
  DeviceTraining whole(3);
  EXPECT_OK(whole.run_on_cpu(&alone_));
  DeviceTraining cut = saved(directory_.path());
  cut.stop_after = 5;
  EXPECT_EQ(cut.run_on_cpu(&alone_).message(), "stopped");
  std::vector<DeviceTraining> resumed(2, saved(directory_.path()));
  for (auto& rank : resumed) rank.epoch = 2;
  EXPECT_OK(run_thread_gang(
      2, [&](Communicator& comm) { return resumed[static_cast<size_t>(comm.rank())].run_on_device(&comm); }));
  EXPECT_THAT(resumed[0].resumed_from, ElementsAre(4));
  expect_same(whole, resumed[0]);
}

// A batch that fails each time is tried again from the newest checkpoint, or from the start, and then left out.
TEST_F(DeviceTrainingTest, LeavesOutABatchThatFailsTwiceAsTheCpuDoes) {
  DeviceTraining cpu = saved(directory_.path() / "cpu"), device = saved(directory_.path() / "device");
  for (auto* training : {&cpu, &device}) {
    training->targets[7] = std::numeric_limits<float>::infinity();
    training->options.guards.rollbacks_max = 3;
  }
  EXPECT_OK(cpu.run_on_cpu(&alone_));
  EXPECT_OK(device.run_on_device(&alone_));
  ASSERT_EQ(device.skipped.size(), 2U) << "once in each pass";
  expect_same(cpu, device);
  // A training that is told so from the start has the same bits.
  DeviceTraining told(3);
  told.targets = device.targets;
  told.options.guards.skipped_steps = device.skipped;
  EXPECT_OK(told.run_on_device(&alone_));
  expect_same(device, told);
}

// The loss that a step is measured by is that of the step before the last: of any attempt.
TEST_F(DeviceTrainingTest, ASpikeIsLeftOutAlsoByAnAttemptThatResumes) {
  auto make_spiky = [](DeviceTraining* training) {
    training->targets[7] = 300;
    training->options.guards.loss_spike_ratio = 4;
    training->options.guards.loss_window = 1;
    training->options.guards.rollbacks_max = 5;
  };
  DeviceTraining whole = saved(directory_.path() / "whole");
  make_spiky(&whole);
  EXPECT_OK(whole.run_on_device(&alone_));
  ASSERT_FALSE(whole.skipped.empty());
  for (uint64_t stop_after = 3; stop_after <= 7; ++stop_after) {
    if (std::ranges::count(whole.skipped, stop_after) > 0) continue;  // no step to stop after
    const auto where = directory_.path() / std::to_string(stop_after);
    DeviceTraining cut = saved(where), resumed = saved(where);
    make_spiky(&cut);
    make_spiky(&resumed);
    cut.stop_after = stop_after;
    resumed.epoch = 2;
    EXPECT_EQ(cut.run_on_device(&alone_).message(), "stopped");
    EXPECT_OK(resumed.run_on_device(&alone_));
    EXPECT_FALSE(resumed.resumed_from.empty());
    expect_same(whole, resumed);
  }
}

TEST_F(DeviceTrainingTest, EndsAtALossThatIsNotFiniteWithoutCheckpoints) {
  DeviceTraining training(3);
  training.targets[7] = std::numeric_limits<float>::quiet_NaN();
  const Status status = training.run_on_device(&alone_);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(status.message(), testing::MatchesRegex("the loss is not finite at step [0-9]+ of 8: lower .*"));
}

}  // namespace
}  // namespace freshet::worker
