// Journals on a network that is late.
#include "tests/sim/scenarios/scenario.h"

namespace freshet::sim {
namespace {

using JournalScenario = Scenario;

// A chunk that held nothing new was stored as another commit, with a sync, that changed nothing.
TEST_F(JournalScenario, AChunkThatIsSentAgainIsAnsweredWithoutACommit) {
  when_reached("agents.journal.after_commit", [this] {
    // The answer is on its way for longer than the agent waits before it sends again.
    world_.network("node-1").down_blocked_until = world_.clock().monotonic() + Duration::seconds(8);
  });
  arrive(1, 5);
  ASSERT_TRUE(until_runs_end(1)) << checker_.broken();
  EXPECT_EQ(only_run().state(), v1::Run::SUCCEEDED) << only_run().message();
}

}  // namespace
}  // namespace freshet::sim
