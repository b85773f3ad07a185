// The API's handlers over the control services, called as the server calls them, in a simulated world.
#include <gtest/gtest.h>

#include "base/log.h"
#include "proto/api.pb.h"
#include "proto/json.h"
#include "tests/sim/documents.h"
#include "tests/sim/sim_world.h"

namespace freshet::sim {
namespace {

class ApiTest : public testing::Test {
 protected:
  ApiTest() : world_(11) {
    set_log_level(LogLevel::kError);
    world_.add_agent("node-1", 2);
    world_.start_daemon();
  }

  template <class Message>
  Message ok(const std::string& method, const std::string& path, const std::string& body = "",
             std::map<std::string, std::string> query = {}) {
    auto answer = world_.call(method, path, body, std::move(query));
    EXPECT_TRUE(answer.is_ok()) << method << " " << path << ": " << answer.status().to_string();
    Message message;
    if (answer.is_ok()) {
      Status parsed = from_json(*answer, &message);
      EXPECT_TRUE(parsed.is_ok()) << parsed.to_string();
    }
    return message;
  }
  Status refused(const std::string& method, const std::string& path, const std::string& body = "",
                 std::map<std::string, std::string> query = {}) {
    auto answer = world_.call(method, path, body, std::move(query));
    EXPECT_FALSE(answer.is_ok()) << method << " " << path << " answered " << (answer.is_ok() ? *answer : "");
    return answer.status();
  }

  void arrive(int from, int to) {
    for (int day = from; day <= to; ++day) {
      ObservedFile file;
      file.uri = "day-" + std::to_string(100 + day);
      file.size = 100;
      file.sha256 = Sha256::hex_of(file.uri);
      file.changed = world_.clock().now();
      file.uri += ".parquet";
      world_.sources().add_file("default", "drops", file);
    }
  }
  void until_champion(uint64_t version) {
    ASSERT_TRUE(world_.run_until(
        [&] {
          auto aliases = world_.call("GET", "/api/v1/models");
          return aliases.is_ok() &&
                 aliases->find("\"version\":\"" + std::to_string(version) + "\"") != std::string::npos;
        },
        Duration::seconds(60)));
  }

  SimWorld world_;
};

TEST_F(ApiTest, ApplyTellsWhatChangedAndDiffWritesNothing) {
  auto planned = ok<v1::ApplyResponse>("POST", "/api/v1/diff", kDocuments);
  ASSERT_EQ(planned.documents_size(), 3);
  EXPECT_EQ(planned.documents(0).change(), "created");
  EXPECT_EQ(ok<v1::ListPipelinesResponse>("GET", "/api/v1/pipelines").pipelines_size(), 0);

  auto applied = ok<v1::ApplyResponse>("POST", "/api/v1/apply", kDocuments);
  EXPECT_EQ(applied.documents(0).change(), "created");
  EXPECT_EQ(applied.documents(0).version(), 1u);
  EXPECT_EQ(ok<v1::ApplyResponse>("POST", "/api/v1/apply", kDocuments).documents(0).change(), "unchanged");

  std::string changed = kDocuments;
  changed.replace(changed.find("\"seed\": 1"), 9, "\"seed\": 2");
  auto again = ok<v1::ApplyResponse>("POST", "/api/v1/apply", changed);
  EXPECT_EQ(again.documents(0).change(), "changed");
  EXPECT_EQ(again.documents(0).version(), 2u);
  ASSERT_EQ(again.documents(0).differences_size(), 1);
  EXPECT_EQ(again.documents(0).differences(0), "modified: spec.seed: 1 -> 2");
  EXPECT_EQ(again.documents(1).change(), "unchanged");
}

TEST_F(ApiTest, ApplyRefusesWhatRefersToNothing) {
  std::string documents = kDocuments;
  documents.replace(documents.find("\"source\": \"drops\""), 17, "\"source\": \"other\"");
  EXPECT_EQ(refused("POST", "/api/v1/apply", documents).message(),
            "pipeline demand names source other, which does not exist; apply it first or in the same request");
  EXPECT_EQ(ok<v1::ListSourcesResponse>("GET", "/api/v1/sources").sources_size(), 0) << "all documents or none";
  EXPECT_EQ(refused("POST", "/api/v1/apply", R"({"pipeline": []})").code(), Code::kInvalidArgument);
}

TEST_F(ApiTest, SubmitNeedsARecipeAndDataAndKeepsItsKey) {
  EXPECT_EQ(refused("POST", "/api/v1/runs", R"({"pipeline": "demand"})").code(), Code::kNotFound);
  ok<v1::ApplyResponse>("POST", "/api/v1/apply", kDocuments);
  EXPECT_NE(refused("POST", "/api/v1/runs", R"({"pipeline": "demand"})").message().find("no recipe yet"),
            std::string::npos);
  arrive(1, 5);
  until_champion(1);
  const std::string body = R"({"pipeline": "demand", "idempotency_key": "retry-1"})";
  auto first = ok<v1::Run>("POST", "/api/v1/runs", body);
  auto second = ok<v1::Run>("POST", "/api/v1/runs", body);
  EXPECT_EQ(first.id(), second.id());
  EXPECT_EQ(first.cause(), "submitted by admin");
  EXPECT_EQ(ok<v1::ListRunsResponse>("GET", "/api/v1/runs").runs_size(), 2);
  EXPECT_EQ(ok<v1::RunView>("GET", "/api/v1/runs/" + first.id().substr(0, 8)).run().id(), first.id());
}

TEST_F(ApiTest, ListsComeInPages) {
  ok<v1::ApplyResponse>("POST", "/api/v1/apply", kDocuments);
  arrive(1, 5);
  until_champion(1);
  ok<v1::Run>("POST", "/api/v1/runs", R"({"pipeline": "demand"})");
  auto newest = ok<v1::ListRunsResponse>("GET", "/api/v1/runs", "", {{"page_size", "1"}});
  ASSERT_EQ(newest.runs_size(), 1);
  auto oldest = ok<v1::ListRunsResponse>("GET", "/api/v1/runs", "",
                                         {{"page_size", "1"}, {"page_token", newest.next_page_token()}});
  ASSERT_EQ(oldest.runs_size(), 1);
  EXPECT_NE(newest.runs(0).id(), oldest.runs(0).id());
  EXPECT_GE(newest.runs(0).created_us(), oldest.runs(0).created_us());
  EXPECT_EQ(refused("GET", "/api/v1/runs", "", {{"page_token", "made-up"}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(refused("GET", "/api/v1/runs", "", {{"state", "NAPPING"}}).code(), Code::kInvalidArgument);
}

TEST_F(ApiTest, CancelEndsTheRunAndStopsItsGang) {
  ok<v1::ApplyResponse>("POST", "/api/v1/apply", kDocuments);
  arrive(1, 5);
  std::string id;
  ASSERT_TRUE(world_.run_until(
      [&] {
        auto runs = ok<v1::ListRunsResponse>("GET", "/api/v1/runs", "", {{"state", "RUNNING"}});
        if (runs.runs_size() == 1) id = runs.runs(0).id();
        return !id.empty();
      },
      Duration::seconds(60)));
  auto cancelled = ok<v1::Run>("POST", "/api/v1/runs/" + id + "/cancel", R"({"reason": "wrong data"})");
  EXPECT_EQ(cancelled.state(), v1::Run::CANCELLED);
  EXPECT_EQ(cancelled.message(), "cancelled by admin: wrong data");
  EXPECT_TRUE(world_.run_until(
      [&] {
        auto view = ok<v1::RunView>("GET", "/api/v1/runs/" + id);
        return view.attempts_size() == 1 && view.attempts(0).state() == v1::Attempt::STOPPED;
      },
      Duration::seconds(60)));
  EXPECT_EQ(ok<v1::ListNodesResponse>("GET", "/api/v1/nodes").nodes(0).slots_used(), 0u);
}

TEST_F(ApiTest, APersonPromotesAndRollsBackWithAReason) {
  ok<v1::ApplyResponse>("POST", "/api/v1/apply", kDocuments);
  arrive(1, 5);
  until_champion(1);
  arrive(6, 8);
  until_champion(2);
  const std::string model = "/api/v1/models/demand";
  EXPECT_NE(refused("POST", model + "/promote", R"({"version": 1})").message().find("reason"), std::string::npos);
  EXPECT_EQ(refused("POST", model + "/promote", R"({"version": 9, "reason": "x"})").code(), Code::kNotFound);
  EXPECT_EQ(
      refused("POST", model + "/promote", R"({"version": 1, "reason": "x", "expected_current_version": 1})").code(),
      Code::kConflict);
  auto back = ok<v1::Alias>("POST", model + "/rollback", R"({"reason": "complaints"})");
  EXPECT_EQ(back.version(), 1u);
  EXPECT_EQ(back.previous_version(), 2u);
  auto forth = ok<v1::Alias>("POST", model + "/promote", R"({"version": 2, "reason": "it was the data"})");
  EXPECT_EQ(forth.version(), 2u);
  auto moves = ok<v1::ListAliasMovesResponse>("GET", model + "/moves");
  ASSERT_EQ(moves.moves_size(), 4);
  EXPECT_EQ(moves.moves(0).alias().reason(), "it was the data");
  EXPECT_EQ(moves.moves(0).alias().actor(), "admin");
  auto audit = ok<v1::ListAuditResponse>("GET", "/api/v1/audit", "", {{"page_size", "1"}});
  EXPECT_EQ(audit.records(0).action(), "promote demand/2 as champion");
}

TEST_F(ApiTest, QuarantinedDataIsReleasedOrDiscardedByName) {
  ok<v1::ApplyResponse>("POST", "/api/v1/apply", kDocuments);
  arrive(1, 5);
  until_champion(1);
  ObservedFile file;
  file.uri = "poison.parquet";
  file.size = 100;
  file.sha256 = Sha256::hex_of(file.uri);
  world_.sources().add_file("default", "drops", file);
  const std::string data = "/api/v1/data/demand/sales";
  ASSERT_TRUE(world_.run_until(
      [&] { return ok<v1::ListEntriesResponse>("GET", data, "", {{"state", "QUARANTINED"}}).entries_size() == 1; },
      Duration::seconds(60)));
  EXPECT_EQ(refused("POST", data + "/decide", R"({"decision": "RELEASE", "uris": ["day-101.parquet"], "reason": "x"})")
                .code(),
            Code::kNotFound)
      << "it is not in quarantine";
  EXPECT_EQ(refused("POST", data + "/decide", R"({"decision": "DISCARD", "uris": ["poison.parquet"]})").code(),
            Code::kInvalidArgument);
  auto decided = ok<v1::ListEntriesResponse>(
      "POST", data + "/decide", R"({"decision": "DISCARD", "uris": ["poison.parquet"], "reason": "shuffled"})");
  ASSERT_EQ(decided.entries_size(), 1);
  EXPECT_EQ(decided.entries(0).state(), v1::EntryRecord::DISCARDED);
  EXPECT_EQ(refused("GET", "/api/v1/data/demand/other").code(), Code::kNotFound);
}

// As after a restart of the daemon, which finds a file so young that it may still be written to.
TEST_F(ApiTest, AFileThatIsLookedAtAgainIsNotGone) {
  ok<v1::ApplyResponse>("POST", "/api/v1/apply", kDocuments);
  arrive(1, 5);
  until_champion(1);
  auto count = [&](const std::string& state) {
    return ok<v1::ListEntriesResponse>("GET", "/api/v1/data/demand/sales", "", {{"state", state}}).entries_size();
  };
  ASSERT_EQ(count("ACCEPTED"), 5);
  world_.sources().set_pending("default", "drops", "day-101.parquet", true);
  world_.sources().remove_file("default", "drops", "day-101.parquet");
  world_.run_until([] { return false; }, Duration::seconds(5));
  EXPECT_EQ(count("ACCEPTED"), 5);
  world_.sources().set_pending("default", "drops", "day-101.parquet", false);
  EXPECT_TRUE(world_.run_until([&] { return count("GONE") == 1; }, Duration::seconds(5))) << "now it is";
}

}  // namespace
}  // namespace freshet::sim
