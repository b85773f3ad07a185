// A queue that is longer than the cluster can serve: it is served in order, lists and reasons stay right, and the
// indexes that keep a round of the loops short equal a recount.
#include <gtest/gtest.h>

#include "base/log.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/api.pb.h"
#include "proto/json.h"
#include "tests/sim/checker.h"
#include "tests/sim/documents.h"
#include "tests/sim/sim_world.h"

namespace freshet::sim {
namespace {

class QueueTest : public testing::Test {
 protected:
  QueueTest() : world_(5) {
    set_log_level(LogLevel::kError);
    world_.add_agent("node-1", 2);
    world_.start_daemon();
    EXPECT_TRUE(world_.call("POST", "/api/v1/apply", kDocuments).is_ok());
    for (int day = 1; day <= 5; ++day) {
      ObservedFile file;
      file.uri = "day-0" + std::to_string(day) + ".parquet";
      file.size = 100;
      file.sha256 = Sha256::hex_of(file.uri);
      file.changed = world_.clock().now();
      world_.sources().add_file("default", "drops", file);
    }
    EXPECT_TRUE(world_.run_until([&] { return count("SUCCEEDED") == 1; }, Duration::seconds(60)));
  }

  size_t count(const std::string& state, const std::string& pipeline = "") {
    size_t found = 0;
    std::string token;
    do {
      std::map<std::string, std::string> query = {{"state", state}, {"page_size", "4"}};
      if (!token.empty()) query["page_token"] = token;
      if (!pipeline.empty()) query["pipeline"] = pipeline;
      auto answer = world_.call("GET", "/api/v1/runs", "", query);
      v1::ListRunsResponse page;
      if (!answer.is_ok() || !from_json(*answer, &page).is_ok()) return 0;
      for (const auto& run : page.runs()) found += v1::Run::State_Name(run.state()) == state ? 1 : 1000;
      token = page.next_page_token();
    } while (!token.empty());
    return found;
  }

  v1::Run submit() {
    v1::Run run;
    auto answer = world_.call("POST", "/api/v1/runs", R"({"pipeline": "demand"})");
    EXPECT_TRUE(answer.is_ok()) << answer.status().to_string();
    EXPECT_TRUE(answer.is_ok() && from_json(*answer, &run).is_ok());
    return run;
  }

  v1::RunView view(const std::string& id) {
    v1::RunView view;
    auto answer = world_.call("GET", "/api/v1/runs/" + id);
    EXPECT_TRUE(answer.is_ok() && from_json(*answer, &view).is_ok());
    return view;
  }

  size_t references(const std::string& prefix) {
    auto found = list_references(*world_.store().snapshot(), prefix);
    return found.is_ok() ? found->size() : 0;
  }

  SimWorld world_;
  Checker checker_{world_};
};

TEST_F(QueueTest, ARunIsBornReadyAndNoLoopLooksAtItBeforeItHasAPlace) {
  v1::Run run = submit();
  EXPECT_EQ(run.state(), v1::Run::QUEUED);
  EXPECT_EQ(run.steps(0).state(), v1::StepStatus::READY);
  EXPECT_EQ(run.steps(0).ready_us(), run.created_us());
  EXPECT_EQ(run.steps(0).slots(), 2u);
  EXPECT_EQ(run.steps(1).state(), v1::StepStatus::WAITING);
  EXPECT_EQ(references(keys::due_runs()), 0u);
  EXPECT_EQ(references(keys::ready_steps(2)), 1u);
}

TEST_F(QueueTest, AQueueIsServedInOrderAndListedByState) {
  std::vector<std::string> ids;
  for (int i = 0; i < 9; ++i) {
    world_.at(Duration::micros(i), "submit", [&] { ids.push_back(submit().id()); });
  }
  ASSERT_TRUE(world_.run_until([&] { return ids.size() == 9; }, Duration::micros(20)));
  EXPECT_EQ(count("QUEUED"), 9u);
  EXPECT_EQ(count("QUEUED", "demand"), 9u);
  EXPECT_EQ(count("QUEUED", "other"), 0u);
  ASSERT_TRUE(world_.run_until([&] { return count("RUNNING") == 1; }, Duration::seconds(60)));
  EXPECT_EQ(checker_.broken(), "");
  EXPECT_EQ(references(keys::due_runs()), 1u) << "the loop looks at what runs, and at nothing that waits";
  EXPECT_EQ(view(ids[0]).run().state(), v1::Run::RUNNING);
  EXPECT_EQ(view(ids[0]).waiting_reason(), "");
  EXPECT_NE(view(ids[8]).waiting_reason().find("needs 2 slots on one node"), std::string::npos);
  ASSERT_TRUE(world_.call("POST", "/api/v1/runs/" + ids[8] + "/cancel", "{}").is_ok());
  EXPECT_EQ(count("CANCELLED"), 1u);

  ASSERT_TRUE(world_.run_until([&] { return count("SUCCEEDED") == 9; }, Duration::seconds(300)));
  EXPECT_EQ(checker_.broken(), "");
  EXPECT_EQ(references(keys::ready_steps()) + references(keys::due_runs()), 0u);
  auto counted = freshet::count(*world_.store().snapshot(), keys::runs_by_state("default", "SUCCEEDED"));
  ASSERT_TRUE(counted.is_ok());
  EXPECT_EQ(*counted, 9u);
  int64_t last = 0;
  for (size_t i = 0; i < 8; ++i) {
    int64_t placed = 0;
    const v1::RunView run = view(ids[i]);
    for (const auto& attempt : run.attempts()) {
      if (attempt.work().step() == "train" && attempt.epoch() == 1) placed = attempt.placed_us();
    }
    EXPECT_GT(placed, last) << "run " << i << " went before an earlier one";
    last = placed;
  }
}

}  // namespace
}  // namespace freshet::sim
