#include "worker/gpu/device_step.h"

#include <gmock/gmock.h>

#include <cstring>

#include "tests/unit/kernels_cuda/support.h"
#include "tests/unit/worker_gpu/device_training.h"
#include "tests/unit/worker_gpu/thread_gang.h"

namespace freshet::worker {
namespace {

using cuda::CudaTest;

void expect_same_bits(const std::vector<float>& expected, const std::vector<float>& found, const std::string& what) {
  ASSERT_EQ(expected.size(), found.size()) << what;
  EXPECT_EQ(std::memcmp(expected.data(), found.data(), expected.size() * sizeof(float)), 0) << what;
}

void expect_same_training(const DeviceTraining& expected, const DeviceTraining& found, const std::string& what) {
  SCOPED_TRACE(what);
  expect_same(expected, found);
  EXPECT_EQ(expected.losses, found.losses);
}

class DeviceStepTest : public CudaTest {
 protected:
  SingleCommunicator alone_;
};

TEST_F(DeviceStepTest, HasTheBitsOfTheCpu) {
  for (size_t micro_batches = 1; micro_batches <= 9; ++micro_batches) {
    DeviceTraining cpu(micro_batches), device(micro_batches);
    EXPECT_OK(cpu.run_on_cpu(&alone_));
    EXPECT_OK(device.run_on_device(&alone_));
    ASSERT_EQ(cpu.losses.size(), 8U);
    EXPECT_NE(cpu.weights, linear_start());
    expect_same_training(cpu, device, std::to_string(micro_batches) + " micro-batches");
  }
}

TEST_F(DeviceStepTest, ClipsAsTheCpuDoes) {
  DeviceTraining cpu(3), device(3);
  cpu.options.clip_norm = device.options.clip_norm = 0.5;
  EXPECT_OK(cpu.run_on_cpu(&alone_));
  EXPECT_OK(device.run_on_device(&alone_));
  EXPECT_GT(cpu.norms.front(), 0.5);
  // The norm's blocks are added up in another order.
  EXPECT_THAT(device.norms, testing::Pointwise(testing::DoubleNear(1e-6), cpu.norms));
  EXPECT_THAT(device.weights, testing::Pointwise(testing::FloatNear(1e-5F), cpu.weights));
}

TEST_F(DeviceStepTest, AGraphDoesWhatWasRecorded) {
  DeviceTraining recorded(3), direct(3);
  direct.records = false;
  EXPECT_OK(recorded.run_on_device(&alone_));
  EXPECT_OK(direct.run_on_device(&alone_));
  expect_same_training(direct, recorded, "recorded");
}

class DeviceStepGang : public testing::TestWithParam<std::tuple<int, ZeroStage>> {
 protected:
  void SetUp() override {
    if (cuda::device_count() == 0) GTEST_SKIP() << "there is no CUDA device";
  }
};

TEST_P(DeviceStepGang, HasTheBitsOfOneRank) {
  const auto [ranks, stage] = GetParam();
  for (size_t micro_batches : {4, 7}) {
    SingleCommunicator alone;
    DeviceTraining expected(micro_batches);
    EXPECT_OK(expected.run_on_device(&alone));
    std::vector<DeviceTraining> found(static_cast<size_t>(ranks), DeviceTraining(micro_batches));
    for (auto& training : found) training.stage = stage;
    EXPECT_OK(run_thread_gang(
        ranks, [&](Communicator& comm) { return found[static_cast<size_t>(comm.rank())].run_on_device(&comm); }));
    expect_same_training(expected, found[0], "rank 0");
    for (const auto& rank : found) {
      expect_same_bits(expected.weights, rank.weights, "weights of a rank");
      EXPECT_EQ(expected.losses, rank.losses);
      EXPECT_EQ(expected.norms, rank.norms);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, DeviceStepGang,
                         testing::Combine(testing::Values(2, 3, 4), testing::Values(ZeroStage::kOne, ZeroStage::kTwo)));

// ---- steps, one at a time

class DeviceSteps : public DeviceStepTest {
 protected:
  void SetUp() override {
    DeviceStepTest::SetUp();
    if (IsSkipped()) return;
    objective_ = std::make_unique<LinearObjective>(linear_targets(1000), options_.micro_batch_rows);
    engine_ = another();
  }
  std::unique_ptr<DeviceStep> another() {
    return DeviceStep::create(objective_.get(), options_, {&alone_, &single_}, linear_start()).value();
  }
  static StepPlan plan(uint64_t step) {
    StepPlan plan;
    plan.step = step;
    plan.cursor = (step - 1) * 12;
    plan.rows = 12;
    plan.learning_rate = 2e-4;
    return plan;
  }
  Status begin(DeviceStep* engine, const StepPlan& wanted) {
    return engine->begin(wanted, [] {});
  }
  // Of steps [first, last], one after the other.
  void take_steps(DeviceStep* engine, uint64_t first, uint64_t last) {
    for (uint64_t step = first; step <= last; ++step) {
      EXPECT_OK(begin(engine, plan(step)));
      EXPECT_TRUE(engine->end().value().is_applied);
    }
  }
  static std::vector<float> state_of(DeviceStep* engine) {
    auto optimizer = engine->gather_optimizer_state().value();
    auto all = engine->take_parameters().value();
    all.insert(all.end(), optimizer.m.begin(), optimizer.m.end());
    all.insert(all.end(), optimizer.v.begin(), optimizer.v.end());
    return all;
  }

  const TrainOptions options_ = device_options(3);
  SingleDeviceCommunicator single_;
  std::unique_ptr<LinearObjective> objective_;
  std::unique_ptr<DeviceStep> engine_;
};

TEST_F(DeviceSteps, TwoAreUnderWayAndEachSaysItsOwnNumbers) {
  auto late = another();
  take_steps(engine_.get(), 1, 0);
  std::vector<double> expected, found;
  for (uint64_t step = 1; step <= 6; ++step) {
    EXPECT_OK(begin(engine_.get(), plan(step)));
    expected.push_back(engine_->end()->loss);
  }
  EXPECT_OK(begin(late.get(), plan(1)));
  for (uint64_t step = 2; step <= 6; ++step) {
    EXPECT_OK(begin(late.get(), plan(step)));
    if (step % 2 == 0) EXPECT_OK(late->prepare(plan(step + 1)));
    found.push_back(late->end()->loss);
  }
  found.push_back(late->end()->loss);
  EXPECT_EQ(found, expected);
  expect_same_bits(state_of(engine_.get()), state_of(late.get()), "state");
  EXPECT_GT(engine_->graph_nodes(), 10U);
}

// What was prepared is another step's: training went back.
TEST_F(DeviceSteps, WhatWasPreparedInVainIsMadeAgain) {
  auto other = another();
  take_steps(engine_.get(), 1, 3);
  take_steps(other.get(), 1, 2);
  EXPECT_OK(other->prepare(plan(7)));
  take_steps(other.get(), 3, 3);
  expect_same_bits(state_of(engine_.get()), state_of(other.get()), "state");
}

TEST_F(DeviceSteps, ALossAboveTheLimitChangesNothing) {
  // The device compares sums, and no mean may be judged otherwise than its sum, whatever it is divided by.
  for (size_t rows : {1, 2, 3, 4, 9, 10, 11, 12}) {
    StepPlan fourth = plan(4);
    fourth.rows = rows;
    auto unlimited = another();
    take_steps(unlimited.get(), 1, 3);
    EXPECT_OK(begin(unlimited.get(), fourth));
    const double loss = unlimited->end()->loss;
    for (bool is_above : {false, true}) {
      auto limited = another();
      take_steps(limited.get(), 1, 3);
      fourth.loss_limit = is_above ? std::nextafter(loss, 0) : loss;
      EXPECT_OK(begin(limited.get(), fourth));
      // The next one has begun before anybody knows.
      EXPECT_OK(begin(limited.get(), plan(5)));
      EXPECT_EQ(limited->end()->is_applied, !is_above) << rows;
      EXPECT_TRUE(limited->end()->is_applied);
      if (rows < 12) continue;
      auto expected = another();
      take_steps(expected.get(), 1, is_above ? 3 : 4);
      take_steps(expected.get(), 5, 5);
      expect_same_bits(state_of(expected.get()), state_of(limited.get()), is_above ? "above" : "not above");
    }
  }
}

TEST_F(DeviceSteps, ASnapshotIsOfItsStepWhileTrainingGoesOn) {
  auto other = another();
  take_steps(other.get(), 1, 2);
  const auto expected = state_of(other.get());
  EXPECT_OK(begin(engine_.get(), plan(1)));
  EXPECT_OK(begin(engine_.get(), plan(2)));
  const TrainingSnapshot snapshot = engine_->snapshot().value();
  EXPECT_TRUE(engine_->end().is_ok());
  EXPECT_OK(begin(engine_.get(), plan(3)));
  EXPECT_TRUE(engine_->end().is_ok());
  EXPECT_TRUE(engine_->end().is_ok()) << "two more steps are done before anybody asks for the copy";
  EXPECT_OK(begin(engine_.get(), plan(4)));
  EXPECT_TRUE(engine_->end().is_ok());
  ASSERT_TRUE(snapshot.wait);
  EXPECT_OK(snapshot.wait());
  ASSERT_EQ(snapshot.segment.size(), kLinearParameters);
  std::vector<float> found;
  for (const float* values : {snapshot.parameters, snapshot.m, snapshot.v}) {
    found.insert(found.end(), values, values + kLinearParameters);
  }
  expect_same_bits(expected, found, "snapshot");
  take_steps(other.get(), 3, 4);
  expect_same_bits(state_of(other.get()), state_of(engine_.get()), "what went on");
}

TEST_F(DeviceSteps, ASnapshotWaitsForItsStep) {
  auto other = another();
  take_steps(other.get(), 1, 2);
  take_steps(engine_.get(), 1, 1);
  EXPECT_OK(begin(engine_.get(), plan(2)));
  const TrainingSnapshot snapshot = engine_->snapshot().value();
  EXPECT_OK(snapshot.wait());
  const auto expected = other->take_parameters().value();
  expect_same_bits(expected, {snapshot.parameters, snapshot.parameters + kLinearParameters}, "parameters");
  EXPECT_TRUE(engine_->end().is_ok());
}

}  // namespace
}  // namespace freshet::worker
