// What the audit log tells and what is stored.
#include "tests/sim/scenarios/scenario.h"

namespace freshet::sim {
namespace {

using AuditScenario = Scenario;

// The position of a journal was written by audited changes and, for chunks of metrics alone, by unaudited ones.
TEST_F(AuditScenario, ReplayingTheLogGivesTheStoreAlsoAfterMetrics) {
  arrive(1, 5);
  ASSERT_TRUE(until_runs_end(1)) << checker_.broken();
  checker_.check_all();
  EXPECT_EQ(checker_.broken(), "");
}

}  // namespace
}  // namespace freshet::sim
