#include "worker/train/guards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/unit/worker/checkpoint_support.h"
#include "tests/unit/worker/shared_floats.h"
#include "tests/unit/worker/temp_dir.h"
#include "worker/comm/local.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Action = Guards::Action;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Result<Action> judge(Guards* guards, uint64_t step, double loss, double norm = 1) {
  std::string trouble;
  return guards->judge({step, 100, loss, norm}, true, &trouble);
}

TEST(Guards, GoBackOnceAndThenLeaveTheBatchOut) {
  Guards guards({});
  EXPECT_EQ(judge(&guards, 6, 1).value(), Action::kGoOn);
  EXPECT_EQ(judge(&guards, 7, kInfinity).value(), Action::kRollBack);
  EXPECT_EQ(judge(&guards, 7, kInfinity).value(), Action::kSkip);
  EXPECT_THAT(guards.skipped(), ElementsAre(7));
  EXPECT_EQ(judge(&guards, 9, 1, std::nan("")).value(), Action::kRollBack);
  EXPECT_EQ(judge(&guards, 9, 1).value(), Action::kGoOn);  // it was the machine
  EXPECT_THAT(guards.skipped(), ElementsAre(7));
}

TEST(Guards, FailWhenTheBudgetIsSpent) {
  GuardOptions options;
  options.rollbacks_max = 1;
  Guards guards(options);
  EXPECT_EQ(judge(&guards, 7, kInfinity).value(), Action::kRollBack);
  EXPECT_EQ(judge(&guards, 7, kInfinity).value(), Action::kSkip);
  EXPECT_EQ(judge(&guards, 8, kInfinity).status().message(),
            "the loss is not finite at step 8 of 100, and guards.rollbacks_max (1) is spent");
}

TEST(Guards, WhatIsLeftOutFromTheStartSpendsNoBudget) {
  GuardOptions options;
  options.rollbacks_max = 1;
  options.skipped_steps = {3, 5};
  Guards guards(options);
  EXPECT_TRUE(guards.is_skipped(3));
  EXPECT_THAT(guards.skipped(), ElementsAre(3, 5));
  guards.restore({3}, {});  // of a checkpoint of step 4
  EXPECT_THAT(guards.skipped(), ElementsAre(3, 5));
  EXPECT_EQ(judge(&guards, 7, kInfinity).value(), Action::kRollBack);
}

TEST(Guards, FailAtOnceWithoutCheckpoints) {
  Guards guards({});
  std::string trouble;
  auto action = guards.judge({3, 8, 1, kInfinity}, false, &trouble);
  EXPECT_EQ(action.status().message(), "the gradient is not finite at step 3 of 8");
}

TEST(Guards, KnowASpikeByTheMedianOfAFullWindow) {
  GuardOptions options;
  options.loss_spike_ratio = 2;
  options.loss_window = 3;
  Guards guards(options);
  for (uint64_t step = 1; step <= 2; ++step) EXPECT_EQ(judge(&guards, step, 9).value(), Action::kGoOn);
  EXPECT_EQ(judge(&guards, 3, 90).value(), Action::kGoOn);  // the window is not full
  EXPECT_EQ(judge(&guards, 4, 18).value(), Action::kGoOn);  // of 9, 9, 90 the median is 9
  EXPECT_EQ(judge(&guards, 5, 36.5).value(), Action::kRollBack);
  EXPECT_THAT(guards.recent_losses(), ElementsAre(9, 90, 18));
  guards.restore({}, {9, 9, 90});
  EXPECT_EQ(judge(&guards, 4, 18.5).value(), Action::kRollBack);
}

// Step 6 begins before the loss of step 5 is known.
TEST(Guards, ThatAreLateMeasureAStepByTheLossesBeforeTheNewest) {
  GuardOptions options;
  options.loss_spike_ratio = 2;
  options.loss_window = 3;
  Guards guards(options, true);
  for (uint64_t step = 1; step <= 3; ++step) EXPECT_EQ(judge(&guards, step, 1).value(), Action::kGoOn);
  EXPECT_EQ(guards.loss_limit(4), 0) << "two losses make no window";
  EXPECT_EQ(guards.loss_limit(5), 2);
  for (uint64_t step = 4; step <= 5; ++step) EXPECT_EQ(judge(&guards, step, 1.5).value(), Action::kGoOn);
  EXPECT_EQ(guards.loss_limit(6), 2) << "of 1, 1, 1.5, whether step 5 is known or not";
  EXPECT_EQ(guards.loss_limit(7), 3);
  EXPECT_EQ(judge(&guards, 6, 2.5).value(), Action::kRollBack);
  // A checkpoint holds what that takes; a step that was left out made no loss.
  Guards resumed(options, true);
  resumed.restore({}, guards.recent_losses(), 5);
  EXPECT_EQ(resumed.loss_limit(6), 2);
  resumed.restore({6}, guards.recent_losses(), 6);
  EXPECT_EQ(resumed.loss_limit(7), 3);
}

TEST(Guards, KeepWhatTheyDecidedAfterAReturn) {
  GuardOptions options;
  options.rollbacks_max = 2;
  Guards guards(options);
  guards.restore({4, 11}, {});  // another attempt's
  EXPECT_TRUE(guards.is_skipped(11));
  EXPECT_FALSE(judge(&guards, 12, kInfinity).is_ok());
}

// ---- in a training

// The label of one row is infinite: the batch with it fails each time.
CheckpointedRun with_bad_row() {
  CheckpointedRun run;
  run.rows = synthetic_rows(kCheckpointedRows, false);
  run.binary = false;
  run.rows.label[500] = std::numeric_limits<float>::infinity();
  return run;
}

TEST(GuardedTraining, LeavesOutABatchThatFailsTwiceWithTheSameBitsOnAnyRanks) {
  std::vector<float> weights;
  std::vector<uint64_t> skipped;
  for (int ranks : {1, 2, 3}) {
    TempDir dir;
    size_t count = TabularModel::create(synthetic_shape(false))->parameters();
    SharedFloats shared(count + 4);
    shared.clear();
    Status status = run_local_gang(ranks, [&](Communicator& comm) -> Status {
      CheckpointedRun run = with_bad_row();
      run.directory = dir.path() / "run";
      RETURN_IF_ERROR(run.run(&comm));
      if (comm.rank() != comm.size() - 1) return Status::ok();
      std::copy(run.weights.begin(), run.weights.end(), shared.data());
      for (size_t i = 0; i < std::min<size_t>(run.skipped.size(), 4); ++i) {
        shared.data()[count + i] = static_cast<float>(run.skipped[i]);
      }
      return Status::ok();
    });
    ASSERT_TRUE(status.is_ok()) << status.to_string();
    auto values = shared.values();
    // Once in each of the two passes.
    std::vector<uint64_t> now = {static_cast<uint64_t>(values[count]), static_cast<uint64_t>(values[count + 1])};
    EXPECT_LE(now[0], 12U);
    EXPECT_GT(now[1], 12U);
    EXPECT_EQ(values[count + 2], -7.0F);
    values.resize(count);
    for (float value : values) ASSERT_TRUE(std::isfinite(value));
    if (weights.empty()) {
      weights = values;
      skipped = now;
    }
    EXPECT_EQ(std::memcmp(weights.data(), values.data(), count * sizeof(float)), 0) << ranks << " ranks";
    EXPECT_EQ(skipped, now);
  }
}

TEST(GuardedTraining, AFaultThatPassesCostsNoBit) {
  SingleCommunicator comm;
  CheckpointedRun undisturbed;
  ASSERT_TRUE(undisturbed.run(&comm).is_ok());
  for (uint64_t faulty : {2, 14}) {  // before the first checkpoint, and later
    TempDir dir;
    CheckpointedRun run;
    run.directory = dir.path() / "run";
    // A number in memory goes wrong, once.
    bool done = false;
    run.spoil = [&](uint64_t step, std::span<float> gradient) {
      if (step == faulty && !done) gradient[7] = std::nanf("");
    };
    run.on_step = [&](const StepResult& step) {
      if (step.step == faulty && !done) ADD_FAILURE() << "the fault went unnoticed";
      return Status::ok();
    };
    run.on_return = [&] { done = true; };
    Status status = run.run(&comm);
    ASSERT_TRUE(status.is_ok()) << status.to_string();
    EXPECT_TRUE(done);
    EXPECT_THAT(run.skipped, IsEmpty());
    EXPECT_EQ(std::memcmp(run.weights.data(), undisturbed.weights.data(), run.weights.size() * sizeof(float)), 0);
  }
}

TEST(GuardedTraining, ASpikeIsLeftOutAlsoByAnAttemptThatResumes) {
  SingleCommunicator comm;
  auto spiky = [] {
    CheckpointedRun run;
    run.rows = synthetic_rows(kCheckpointedRows, false);
    run.binary = false;
    run.rows.label[500] = 3000;
    run.options.guards.loss_spike_ratio = 4;
    run.options.guards.loss_window = 3;
    return run;
  };
  TempDir whole_dir, dir;
  CheckpointedRun whole = spiky();
  whole.directory = whole_dir.path() / "run";
  Status status = whole.run(&comm);
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  ASSERT_FALSE(whole.skipped.empty());
  CheckpointedRun cut = spiky();
  cut.directory = dir.path() / "run";
  uint64_t cut_at = whole.skipped.back() + 2;
  cut.on_step = [&](const StepResult& step) { return step.step == cut_at ? cancelled("cut") : Status::ok(); };
  ASSERT_EQ(cut.run(&comm).message(), "cut");
  CheckpointedRun resumed = spiky();
  resumed.directory = dir.path() / "run";
  resumed.epoch = 2;
  status = resumed.run(&comm);
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  ASSERT_FALSE(resumed.resumed_from.empty());
  EXPECT_EQ(resumed.skipped, whole.skipped);
  EXPECT_EQ(std::memcmp(resumed.weights.data(), whole.weights.data(), whole.weights.size() * sizeof(float)), 0);
}

TEST(GuardedTraining, FailsNamingTheStepWhenTheBudgetIsSpent) {
  TempDir dir;
  SingleCommunicator comm;
  CheckpointedRun run = with_bad_row();
  run.directory = dir.path() / "run";
  run.options.guards.rollbacks_max = 1;
  Status status = run.run(&comm);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(status.message(),
              testing::MatchesRegex("the loss is not finite at step [0-9]+ of 24, and guards.rollbacks_max .1. is "
                                    "spent: lower optimizer.learning_rate .* or set optimizer.clip_norm"));
}

}  // namespace
}  // namespace freshet::worker
