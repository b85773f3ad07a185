// Every route that changes something answers a repeated request with its first answer and acts once.
#include "daemon/api/mutation.h"

#include <gtest/gtest.h>

#include <map>

#include "daemon/api/agent_hub.h"
#include "daemon/control/answer_reconciler.h"
#include "daemon/control/run_index.h"
#include "daemon/http/authenticator.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/digest.h"
#include "proto/json.h"
#include "proto/webhook.pb.h"
#include "tests/unit/api/control_plane.h"

namespace freshet {
namespace {

constexpr char kPipeline[] = R"({"metadata": {"name": "p", "project": "default"}, "spec": {"model": "m",
    "inputs": [{"name": "i", "source": "s", "holdout_newest_entries": 1}],
    "recipe": {"steps": [{"name": "train", "train": {"input": "i",
      "tabular": {"features": [{"column": "x", "kind": "NUMERIC"}], "label": {"column": "y", "task": "BINARY"}}}}]}}})";

template <class Message>
Message from(const std::string& text) {
  Message message;
  Status parsed = from_json(text, &message);
  EXPECT_TRUE(parsed.is_ok()) << parsed.to_string();
  return message;
}

void add_entry(Change* change, const std::string& uri, v1::EntryRecord::State state) {
  v1::EntryRecord entry;
  entry.mutable_entry()->set_uri(uri);
  entry.mutable_entry()->set_sha256(uri);
  entry.mutable_profile()->set_rows(100);
  entry.set_state(state);
  create(*change, keys::entry("default", "p", "i", uri, uri), entry);
}

// One of each resource that the calls below change: a pipeline that can run, a run, two versions, data in quarantine.
void fill(Store& store) {
  Change change;
  change.actor = "test";
  change.action = "fill";
  v1::PipelineRecord pipeline;
  pipeline.set_id(1);
  pipeline.set_version(1);
  *pipeline.mutable_pipeline() = from<v1::Pipeline>(kPipeline);
  create(change, keys::pipeline("default", "p"), pipeline);
  create(change, keys::pipeline_version("default", "p", 1), pipeline);
  v1::PipelineCode code;
  *code.mutable_recipe() = pipeline.pipeline().spec().recipe();
  create(change, keys::pipeline_code("default", "p"), code);
  v1::SourceRecord source;
  source.mutable_source()->mutable_metadata()->set_name("s");
  create(change, keys::source("default", "s"), source);
  v1::TriggerRecord trigger;
  trigger.mutable_trigger()->mutable_metadata()->set_name("t");
  create(change, keys::trigger("default", "t"), trigger);
  add_entry(&change, "a", v1::EntryRecord::ACCEPTED);
  add_entry(&change, "b", v1::EntryRecord::ACCEPTED);
  add_entry(&change, "c", v1::EntryRecord::QUARANTINED);
  v1::Run run;
  run.set_project("default");
  run.set_id("r");
  run.set_pipeline("p");
  run.set_state(v1::Run::QUEUED);
  *run.mutable_recipe() = code.recipe();  // it has also made the versions
  run.add_steps()->set_name("train");
  v1::Model model;
  model.set_name("m");
  model.set_latest_version(2);
  create(change, keys::model("default", "m"), model);
  for (uint64_t number : {1, 2}) {
    v1::ModelVersion version;
    version.set_model("m");
    version.set_version(number);
    v1::ArtifactRecord artifact;
    artifact.set_digest(Sha256::hex_of("m/" + std::to_string(number)));
    create(change, keys::artifact(artifact.digest()), artifact);
    version.set_artifact_digest(artifact.digest());
    version.set_run_id(run.id());
    version.set_pipeline("p");
    version.set_recipe_digest(message_digest(run.recipe()));
    run.mutable_steps(0)->add_outputs()->set_digest(artifact.digest());
    version.mutable_verdict()->set_passed(true);
    create(change, keys::model_version("default", "m", number), version);
  }
  control::create_run(run, &change);
  v1::WebhookRecord webhook;
  webhook.mutable_webhook()->mutable_metadata()->set_name("w");
  create(change, keys::webhook("default", "w"), webhook);
  v1::DeadLetter letter;
  letter.mutable_event()->set_id("e");
  letter.set_webhook("w");
  create(change, keys::dead_letter("default", "w", "outbox/1/0"), letter);
  v1::Alias alias;
  alias.set_project("default");
  alias.set_model("m");
  alias.set_alias("champion");
  alias.set_version(1);
  alias.set_previous_version(2);
  create(change, keys::alias("default", "m", "champion"), alias);
  ASSERT_TRUE(store.commit(std::move(change)).is_ok());
}

struct Call {
  std::string path;
  std::string body;
  std::string other_body;  // of another request to the same path; empty: none is possible
};

// By the route's pattern.
const std::map<std::string, Call>& calls() {
  static const std::map<std::string, Call> kCalls = {
      {"/api/v1/apply",
       {"/api/v1/apply", R"({"sources": [{"metadata": {"name": "n"}, "spec": {"directory": {"uri": "file:///n"}}}]})",
        R"({"sources": [{"metadata": {"name": "n"}, "spec": {"directory": {"uri": "file:///other"}}}]})"}},
      {"/api/v1/runs", {"/api/v1/runs", R"({"pipeline": "p"})", R"({"pipeline": "other"})"}},
      {"/api/v1/runs/{id}/cancel", {"/api/v1/runs/r/cancel", R"({"reason": "x"})", R"({"reason": "y"})"}},
      {"/api/v1/triggers/{name}/pause", {"/api/v1/triggers/t/pause", "", ""}},
      {"/api/v1/triggers/{name}/resume", {"/api/v1/triggers/t/resume", "", ""}},
      {"/api/v1/models/{model}/promote",
       {"/api/v1/models/m/promote", R"({"version": 2, "reason": "x"})", R"({"version": 1, "reason": "x"})"}},
      {"/api/v1/models/{model}/versions/{version}/replay",
       {"/api/v1/models/m/versions/1/replay", R"({"reason": "x"})", R"({"reason": "y"})"}},
      {"/api/v1/models/{model}/rollback", {"/api/v1/models/m/rollback", R"({"reason": "x"})", R"({"reason": "y"})"}},
      {"/api/v1/gc", {"/api/v1/gc", R"({"reason": "x"})", R"({"reason": "y"})"}},
      {"/api/v1/dead_letters/redeliver",
       {"/api/v1/dead_letters/redeliver", R"({"event_ids": ["e"]})", R"({"all": true})"}},
      {"/api/v1/webhooks/{name}/test", {"/api/v1/webhooks/w/test", "", ""}},
      {"/api/v1/data/{pipeline}/{input}/decide",
       {"/api/v1/data/p/i/decide", R"({"decision": "RELEASE", "uris": ["c"], "reason": "x"})",
        R"({"decision": "DISCARD", "uris": ["c"], "reason": "x"})"}},
  };
  return kCalls;
}

class MutationTest : public testing::Test {
 protected:
  MutationTest() {
    SeededRandom random(3);
    token_ = http::new_token("admin", random);
    authenticator_.add_token("admin", token_, http::PermissionSet::all());
    api::add_routes(router_, plane_.services, agents_);
    fill(plane_.store);
  }

  http::Principal admin() { return *authenticator_.authenticate("Bearer " + token_, "test"); }

  Result<std::string> post(const std::string& path, const std::string& body, const std::string& key) {
    auto match = router_.match("POST", path);
    CHECK(match.is_ok() && match->route != nullptr);
    http::Request request;
    request.method = "POST";
    request.path = path;
    request.params = match->params;
    request.body = body;
    request.idempotency_key = key;
    ASSIGN_OR_RETURN(http::Response response, match->route->handler(admin(), request));
    return std::move(response.body);
  }
  Revision revision() { return plane_.store.snapshot()->revision(); }
  size_t runs() { return list<v1::Run>(*plane_.store.snapshot(), keys::runs("default")).value().size(); }

  test::ControlPlane plane_;
  api::AgentHub agents_;
  http::Authenticator authenticator_{plane_.clock};
  http::Router router_;
  std::string token_;
};

TEST_F(MutationTest, EveryRouteThatChangesSomethingTakesAKey) {
  for (const http::Route* route : router_.routes()) {
    SCOPED_TRACE(route->method + " " + route->pattern);
    if (route->method == "GET") {
      EXPECT_EQ(route->options.effect, http::Effect::kReads);
      continue;
    }
    if (route->options.effect == http::Effect::kRepeatable) {
      EXPECT_EQ(route->method, "PUT") << "only what is put under its own digest is the same however often it comes";
      continue;
    }
    if (route->pattern == "/api/v1/diff" || route->pattern == "/api/v1/backup") {
      EXPECT_EQ(route->options.effect, http::Effect::kReads);
      continue;
    }
    ASSERT_EQ(route->options.effect, http::Effect::kMutates);
    auto call = calls().find(route->pattern);
    ASSERT_NE(call, calls().end()) << "add an example of this call above";
    const auto& [path, body, other_body] = call->second;
    const std::string key = "key of " + route->pattern;

    auto refused = post(path, body, key);
    ASSERT_FALSE(refused.is_ok()) << "blanks in a key";
    const std::string good = "k" + Sha256::hex_of(key);
    const Revision before = revision();
    auto first = post(path, body, good);
    ASSERT_TRUE(first.is_ok()) << first.status().to_string();
    EXPECT_EQ(revision(), before + 1) << "the change and its answer are one commit";
    auto again = post(path, body, good);
    ASSERT_TRUE(again.is_ok()) << again.status().to_string();
    EXPECT_EQ(*again, *first);
    EXPECT_EQ(*post(path, body, "\"" + good + "\""), *first) << "a structured header's quotes";
    EXPECT_EQ(revision(), before + 1) << "a repeated call changes nothing";
    if (other_body.empty()) continue;
    EXPECT_EQ(post(path, other_body, good).status().code(), Code::kConflict);
    EXPECT_EQ(revision(), before + 1);
  }
}

TEST_F(MutationTest, TheSameRequestWrittenOtherwiseIsTheSame) {
  auto first = post("/api/v1/runs", R"({"pipeline": "p", "project": ""})", "k1");
  ASSERT_TRUE(first.is_ok()) << first.status().to_string();
  EXPECT_EQ(*post("/api/v1/runs", "{ \"pipeline\" : \"p\" }", "k1"), *first);
  EXPECT_EQ(post("/api/v1/triggers/t/pause", "", "k1").status().code(), Code::kConflict) << "another path";
  EXPECT_EQ(runs(), 2u);
  ASSERT_TRUE(post("/api/v1/runs", R"({"pipeline": "p"})", "").is_ok());
  ASSERT_TRUE(post("/api/v1/runs", R"({"pipeline": "p"})", "").is_ok());
  EXPECT_EQ(runs(), 4u) << "without a key each call is another";
}

TEST_F(MutationTest, TheBodyOfASubmitMayNameTheKey) {
  const std::string body = R"({"pipeline": "p", "idempotency_key": "k1"})";
  auto first = post("/api/v1/runs", body, "");
  ASSERT_TRUE(first.is_ok()) << first.status().to_string();
  EXPECT_EQ(*post("/api/v1/runs", body, ""), *first);
  EXPECT_EQ(*post("/api/v1/runs", body, "k1"), *first);
  EXPECT_EQ(post("/api/v1/runs", body, "k2").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(runs(), 2u);
}

TEST_F(MutationTest, ARefusedCallKeepsNoAnswer) {
  EXPECT_EQ(post("/api/v1/models/m/promote", R"({"version": 2})", "k1").status().code(), Code::kInvalidArgument);
  EXPECT_TRUE(post("/api/v1/models/m/promote", R"({"version": 2, "reason": "x"})", "k1").is_ok());
}

TEST_F(MutationTest, AnAnswerWithoutAChangeIsKeptToo) {
  // The retry comes after somebody moved the alias on: it must not move it back.
  auto first = post("/api/v1/models/m/promote", R"({"version": 1, "reason": "x"})", "k1");
  ASSERT_TRUE(first.is_ok()) << first.status().to_string();
  ASSERT_TRUE(post("/api/v1/models/m/promote", R"({"version": 2, "reason": "x"})", "k2").is_ok());
  EXPECT_EQ(*post("/api/v1/models/m/promote", R"({"version": 1, "reason": "x"})", "k1"), *first);
  EXPECT_EQ(get<v1::Alias>(*plane_.store.snapshot(), keys::alias("default", "m", "champion")).value()->value.version(),
            2u);
}

TEST_F(MutationTest, OfTwoAtTheSameTimeOneActsAndBothGetItsAnswer) {
  bool is_inner = false;
  http::Handler handler;
  // The second request comes when the first one has seen that there is no answer yet, and is done before it commits.
  auto mutation = api::mutation<v1::SubmitRequest>(plane_.answers,
                                                   [&](const control::Caller& caller, const http::Request& request,
                                                       const v1::SubmitRequest& body) -> Result<v1::Run> {
                                                     if (!std::exchange(is_inner, true)) {
                                                       EXPECT_TRUE(handler(admin(), request).is_ok());
                                                     }
                                                     return plane_.runs.submit(caller, body);
                                                   });
  handler = mutation.handler;
  http::Request request;
  request.method = "POST";
  request.path = "/api/v1/runs";
  request.body = R"({"pipeline": "p"})";
  request.idempotency_key = "k1";
  auto first = handler(admin(), request);
  ASSERT_TRUE(first.is_ok()) << first.status().to_string();
  EXPECT_EQ(handler(admin(), request)->body, first->body);
  EXPECT_EQ(runs(), 2u);
}

TEST_F(MutationTest, WhatALoopGotAheadOfIsTriedAgainAndARealConflictIsToldOnce) {
  int calls = 0, conflicts = 2;
  auto mutation = api::mutation<v1::SubmitRequest>(
      plane_.answers,
      [&](const control::Caller& caller, const http::Request&, const v1::SubmitRequest& body) -> Result<v1::Run> {
        if (++calls <= conflicts) return conflict("at another revision");
        return plane_.runs.submit(caller, body);
      });
  http::Request request;
  request.method = "POST";
  request.path = "/api/v1/runs";
  request.body = R"({"pipeline": "p"})";
  EXPECT_TRUE(mutation.handler(admin(), request).is_ok());
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(runs(), 2u);
  calls = 0;
  conflicts = 100;
  EXPECT_EQ(mutation.handler(admin(), request).status().code(), Code::kConflict);
  EXPECT_EQ(calls, api::kAttemptsMax);
}

TEST_F(MutationTest, AnswersAreForgottenAfterAWeek) {
  ASSERT_TRUE(post("/api/v1/runs", R"({"pipeline": "p"})", "k1").is_ok());
  const Time made = plane_.clock.now();
  control::AnswerReconciler answers(plane_.context);
  const Revision before = revision();
  Time due = answers.reconcile(made + control::kAnswerKeep - Duration::seconds(60));
  EXPECT_LE(due, made + control::kAnswerKeep);
  EXPECT_EQ(revision(), before);
  EXPECT_GT(answers.reconcile(made + control::kAnswerKeep), made + control::kAnswerKeep);
  EXPECT_EQ(revision(), before + 1);
  EXPECT_TRUE(list_references(*plane_.store.snapshot(), keys::answers_by_time())->empty());
  EXPECT_FALSE(get<v1::KeptAnswer>(*plane_.store.snapshot(), keys::kept_answer("admin", "k1")).value().has_value());
  ASSERT_TRUE(post("/api/v1/runs", R"({"pipeline": "p"})", "k1").is_ok());
  EXPECT_EQ(runs(), 3u);
}

}  // namespace
}  // namespace freshet
