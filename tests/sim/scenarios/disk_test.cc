// The disk fails for a moment while something is decided.
#include "tests/sim/scenarios/scenario.h"

namespace freshet::sim {
namespace {

using DiskScenario = Scenario;

// The version's records were in the change before the pin failed, and the change was stored with a failed step.
TEST_F(DiskScenario, AFullDiskAtThePinFailsNoRunAndLeavesNoHalfVersion) {
  when_reached("promotion.artifact.before_pin", [this] { world_.disk_faults().full = true; });
  world_.at(Duration::seconds(60), "there is room again", [this] { world_.disk_faults().full = false; });
  arrive(1, 5);
  ASSERT_TRUE(until_runs_end(1)) << checker_.broken();
  EXPECT_EQ(only_run().state(), v1::Run::SUCCEEDED) << only_run().message();
  EXPECT_EQ(only_run().model_version(), "demand/1");
  EXPECT_EQ(checker_.aliases().size(), 1u);
}

// A report that can't be read now was taken for one that says no.
TEST_F(DiskScenario, AReadErrorAtTheJudgementFailsNoRun) {
  when_reached("promotion.candidate.before_judgement", [this] { world_.disk_faults().read_error_odds = 1; });
  world_.at(Duration::seconds(60), "the disk is well again", [this] { world_.disk_faults().read_error_odds = 0; });
  arrive(1, 5);
  ASSERT_TRUE(until_runs_end(1)) << checker_.broken();
  EXPECT_EQ(only_run().state(), v1::Run::SUCCEEDED) << only_run().message();
}

}  // namespace
}  // namespace freshet::sim
