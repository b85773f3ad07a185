// Replays through the API, with gangs whose second training comes out as the test says.
#include <gtest/gtest.h>

#include "base/log.h"
#include "proto/api.pb.h"
#include "proto/json.h"
#include "scheduler/run_graph.h"
#include "tests/sim/documents.h"
#include "tests/sim/sim_world.h"
#include "tests/sim/text.h"

namespace freshet::sim {
namespace {

class ReplayTest : public testing::Test, public GangWatcher {
 protected:
  ReplayTest() : world_(12) {
    set_log_level(LogLevel::kError);
    world_.set_gang_watcher(*this);
    world_.add_agent("node-1", 2);
    world_.start_daemon();
  }

  GangFate fate(const v1::AttemptSpec& spec) override {
    GangFate fate;
    if (spec.has_replay()) {
      fate.replay = replay_;
      fate.work = replay_work_;
      replays_.push_back(spec);
    }
    return fate;
  }

  template <class Message>
  Message ok(const std::string& method, const std::string& path, const std::string& body = "") {
    auto answer = world_.call(method, path, body);
    EXPECT_TRUE(answer.is_ok()) << method << " " << path << ": " << answer.status().to_string();
    Message message;
    EXPECT_TRUE(answer.is_ok() && from_json(*answer, &message).is_ok());
    return message;
  }

  void arrive(int from, int to) {
    for (int day = from; day <= to; ++day) {
      ObservedFile file;
      file.uri = "day-" + std::to_string(100 + day) + ".parquet";
      file.size = 100;
      file.sha256 = Sha256::hex_of(file.uri);
      file.changed = world_.clock().now();
      world_.sources().add_file("default", "drops", file);
    }
  }
  v1::ListModelVersionsResponse registry() {
    auto answer = world_.call("GET", "/api/v1/models/demand/versions");
    v1::ListModelVersionsResponse versions;
    EXPECT_TRUE(!answer.is_ok() || from_json(*answer, &versions).is_ok());
    return versions;
  }
  void until_versions(int count) {
    ASSERT_TRUE(world_.run_until([&] { return registry().versions_size() == count; }, Duration::seconds(60)));
  }
  // Two versions, the second one warm-started from the first.
  void make_versions() {
    ok<v1::ApplyResponse>("POST", "/api/v1/apply", kDocuments);
    arrive(1, 5);
    until_versions(1);
    arrive(6, 8);
    until_versions(2);
  }
  v1::Run replay_to_end(const std::string& version) {
    auto run = ok<v1::Run>("POST", "/api/v1/models/demand/versions/" + version + "/replay", R"({"reason": "audit"})");
    EXPECT_EQ(run.replay_of(), "demand/" + version);
    EXPECT_EQ(run.cause(), "replay of demand/" + version + " asked for by admin: audit");
    EXPECT_TRUE(world_.run_until(
        [&] {
          run = ok<v1::RunView>("GET", "/api/v1/runs/" + run.id()).run();
          return scheduler::is_final(run.state());
        },
        Duration::seconds(60)));
    return run;
  }

  SimWorld world_;
  GangFate::Replay replay_ = GangFate::kSameWeights;
  Duration replay_work_ = Duration::millis(300);
  std::vector<v1::AttemptSpec> replays_;
};

TEST_F(ReplayTest, TrainsAVersionAgainAndRegistersNothing) {
  make_versions();
  auto versions = registry();
  const v1::ModelVersion second = versions.versions(0), first = versions.versions(1);
  ASSERT_EQ(second.warm_start_version(), "demand/1");
  auto run = replay_to_end("2");
  EXPECT_EQ(run.state(), v1::Run::SUCCEEDED) << run.message();
  ASSERT_EQ(run.replays_size(), 1);
  EXPECT_TRUE(run.replays(0).is_equal());
  EXPECT_EQ(run.message(), run.steps(0).message());
  // Of the training itself: its data, what it started from, and its seed; on the ranks that a training gets.
  ASSERT_EQ(replays_.size(), 1u);
  const v1::ReplayTask& task = replays_[0].replay();
  EXPECT_EQ(task.train().data().digest(), second.inputs(0).dataset_digest());
  EXPECT_EQ(task.train().holdout_size(), 2);
  EXPECT_EQ(task.train().warm_start().digest(), first.artifact_digest());
  EXPECT_EQ(task.expected().weights_digest(), second.weights_digest());
  EXPECT_EQ(task.model().digest(), second.artifact_digest());
  EXPECT_EQ(replays_[0].seed(), second.seed());
  EXPECT_EQ(replays_[0].ranks(), 2u);

  EXPECT_EQ(to_canonical_json(registry()), to_canonical_json(versions)) << "nothing is registered, nothing moves";
  EXPECT_EQ(run.model_version(), "");
}

TEST_F(ReplayTest, FailsWhenTheWeightsHadToBeTheSame) {
  make_versions();
  replay_ = GangFate::kOtherWeights;
  auto run = replay_to_end("1");
  EXPECT_EQ(run.state(), v1::Run::FAILED);
  EXPECT_NE(run.message().find("step replay: other weights"), std::string::npos) << run.message();
  EXPECT_EQ(run.steps(0).epoch(), 1u) << "another try would say the same";
  EXPECT_EQ(run.steps(0).outputs_size(), 1) << "the report stays";

  replay_ = GangFate::kOtherNumerics;
  run = replay_to_end("1");
  EXPECT_EQ(run.state(), v1::Run::SUCCEEDED);
  EXPECT_NE(run.message().find("by other numerics"), std::string::npos) << run.message();
}

TEST_F(ReplayTest, HoldsUpNoTrigger) {
  make_versions();
  world_.add_agent("node-2", 2);
  replay_work_ = Duration::seconds(1000);
  auto run = ok<v1::Run>("POST", "/api/v1/models/demand/versions/1/replay", "{}");
  arrive(9, 11);
  until_versions(3);
  EXPECT_EQ(ok<v1::RunView>("GET", "/api/v1/runs/" + run.id()).run().state(), v1::Run::RUNNING);
}

TEST_F(ReplayTest, AGateRefusesACandidateThatDoesNotComeOutAgain) {
  const std::string gate = R"({"name": "learns",)";
  ok<v1::ApplyResponse>("POST", "/api/v1/apply",
                        replaced(kDocuments, gate, R"({"name": "reproducible", "replay": {}}, )" + gate));
  replay_ = GangFate::kOtherWeights;
  arrive(1, 5);
  until_versions(1);
  auto versions = registry();
  EXPECT_EQ(versions.aliases_size(), 0);
  const v1::GateResult& refused = versions.versions(0).verdict().gates(0);
  EXPECT_FALSE(refused.passed());
  EXPECT_NE(refused.explanation().find("other weights"), std::string::npos) << refused.explanation();
  EXPECT_EQ(refused.numbers(0).name(), "equal");
  ASSERT_EQ(replays_.size(), 1u);
  EXPECT_EQ(replays_[0].replay().model().digest(), versions.versions(0).artifact_digest());

  replay_ = GangFate::kSameWeights;
  arrive(6, 8);
  until_versions(2);
  versions = registry();
  ASSERT_EQ(versions.aliases_size(), 1);
  EXPECT_EQ(versions.aliases(0).version(), 2u);
  EXPECT_TRUE(versions.versions(0).verdict().gates(0).passed());
}

}  // namespace
}  // namespace freshet::sim
