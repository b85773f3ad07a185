// Ranks as processes, as several ranks on one GPU are in earnest. Not on a GPU here: this process may have used it
// already, and then its children can't.
#include "tests/unit/worker_gpu/reducing.h"
#include "worker/comm/local.h"
#include "worker/gpu/staged_communicator.h"

namespace freshet::worker {
namespace {

class ForkedRanks : public testing::TestWithParam<GangCase> {};

TEST_P(ForkedRanks, ReduceLikeTheCpu) {
  const Status status = run_local_gang(GetParam().ranks, [](Communicator& comm) {
    StagedDeviceCommunicator staged(&comm);
    return reduce_like_the_cpu(&staged, comm, 6, GetParam().stage);
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
}

INSTANTIATE_TEST_SUITE_P(Ranks, ForkedRanks, testing::ValuesIn(gang_cases()),
                         [](const auto& tested) { return tested.param.name(); });

}  // namespace
}  // namespace freshet::worker
