// The commands against a fake daemon: what they ask, what they print, how they end.
#include <gtest/gtest.h>

#include "proto/api.pb.h"
#include "tests/unit/cli/program.h"

namespace freshet::cli::test {
namespace {

std::string golden(const std::string& name) {
  auto text = read_file(data_file(name + ".txt"));
  EXPECT_TRUE(text.is_ok()) << text.status().to_string();
  return text.is_ok() ? *text : "";
}

Reply error(int status, const std::string& code, const std::string& message) {
  return {.status = status, .body = R"({"code": ")" + code + R"(", "message": ")" + message + "\"}"};
}

TEST_F(Program, FindsTheDaemonAndItsTokenInTheDataDirectory) {
  daemon_.on("GET /api/v1/runs", message_of<v1::ListRunsResponse>("runs"));
  auto ended = run({"runs"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.out, golden("runs"));
  EXPECT_EQ(last_asked().token, "s3cret");
  EXPECT_EQ(last_asked().query, "project=default&page_size=20");
}

TEST_F(Program, FlagsAndVariablesSayWhichDaemon) {
  daemon_.on("GET /api/v1/nodes", v1::ListNodesResponse());
  write("other.token", "other");
  variables_["FRESHET_DATA_DIR"] = "/nowhere";
  auto ended = run({"nodes", "--server", daemon_.url() + "/", "--token-file", (dir_ / "other.token").string()});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(last_asked().token, "other");
  write("address", "http://127.0.0.1:1\n");
  variables_["FRESHET_SERVER"] = daemon_.url().substr(7);  // without http://
  EXPECT_EQ(run({"--data-dir", dir_.string(), "nodes"}).code, 0);
  EXPECT_EQ(last_asked().token, "s3cret");
}

TEST_F(Program, SaysWhatToDoWithoutADaemonOrAToken) {
  auto ended = run({"runs", "--data-dir", "/nowhere"});
  EXPECT_EQ(ended.code, kExitUnreachable);
  EXPECT_EQ(
      ended.err,
      "freshet: no daemon is known: /nowhere/address does not exist; start one with `freshet up`, or give --server "
      "or --data-dir\n");
  ended = run({"runs", "--data-dir", "/nowhere", "--server", daemon_.url()});
  EXPECT_EQ(ended.code, kExitRefused);
  EXPECT_NE(ended.err.find("no token"), std::string::npos) << ended.err;
  write("address", "http://127.0.0.1:1\n");
  ended = run({"runs"});
  EXPECT_EQ(ended.code, kExitUnreachable);
  EXPECT_NE(ended.err.find("is the daemon running? `freshet up` starts one"), std::string::npos) << ended.err;
}

TEST_F(Program, ErrorsOfTheDaemonBecomeExitCodes) {
  for (const auto& [status, code, expected] : {std::tuple{404, "not_found", kExitNotFound},
                                               {409, "conflict", kExitRefused},
                                               {409, "already_exists", kExitRefused},
                                               {403, "permission_denied", kExitRefused},
                                               {401, "unauthenticated", kExitRefused},
                                               {400, "invalid_argument", kExitError},
                                               {503, "unavailable", kExitUnreachable},
                                               {500, "internal", kExitError}}) {
    daemon_.on(std::string("GET /api/v1/runs/") + code, error(status, code, "said so"));
    auto ended = run({"runs", code});
    EXPECT_EQ(ended.code, expected) << code;
    EXPECT_EQ(ended.err, "freshet: said so\n");
    EXPECT_EQ(ended.out, "");
  }
}

TEST_F(Program, WrongUsageIsTwo) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{{},
                                                                     {"nonsense"},
                                                                     {"runs", "--nonsense"},
                                                                     {"promote", "flights"},
                                                                     {"promote", "flights", "3"},
                                                                     {"data"},
                                                                     {"apply"},
                                                                     {"submit"},
                                                                     {"runs", "--limit", "many"},
                                                                     {"runs", "cancel"}}) {
    auto ended = run(arguments);
    EXPECT_EQ(ended.code, kExitUsage) << testing::PrintToString(arguments);
    EXPECT_TRUE(ended.err.starts_with("freshet: ")) << ended.err;
    EXPECT_NE(ended.err.find("--help`\n"), std::string::npos) << ended.err;
  }
  EXPECT_TRUE(daemon_.asked().empty());
}

TEST_F(Program, HelpOfEveryCommandHasExamples) {
  for (const char* command : {"",
                              "up",
                              "apply",
                              "diff",
                              "pipelines",
                              "submit",
                              "runs",
                              "runs list",
                              "runs cancel",
                              "logs",
                              "models",
                              "models show",
                              "models history",
                              "gc",
                              "promote",
                              "rollback",
                              "lineage",
                              "triggers",
                              "triggers pause",
                              "triggers resume",
                              "sources",
                              "data",
                              "data list",
                              "data release",
                              "data discard",
                              "nodes",
                              "audit",
                              "audit head",
                              "audit verify",
                              "version",
                              "completion"}) {
    std::vector<std::string> arguments;
    std::istringstream words(command);
    for (std::string word; words >> word;) arguments.push_back(word);
    arguments.push_back("--help");
    auto ended = run(arguments);
    EXPECT_EQ(ended.code, 0) << command;
    EXPECT_NE(ended.out.find("Examples:\n  freshet "), std::string::npos) << command << "\n" << ended.out;
  }
  EXPECT_NE(run({"--help"}).out.find("Exit codes: 0 done; 1 error; 2 wrong usage"), std::string::npos);
}

TEST_F(Program, JsonIsTheApisOwn) {
  const auto runs = message_of<v1::ListRunsResponse>("runs");
  daemon_.on("GET /api/v1/runs", runs);
  auto ended = run({"--json", "runs"});
  v1::ListRunsResponse again;
  ASSERT_TRUE(from_json(ended.out, &again).is_ok()) << ended.out;
  EXPECT_EQ(to_canonical_json(again), to_canonical_json(runs));
  EXPECT_EQ(run({"runs", "--json"}).out, ended.out);  // wherever the flag stands
}

TEST_F(Program, AnswersOfANewerDaemonAreRead) {
  daemon_.on("GET /api/v1/nodes", Reply{.body = R"({"nodes": [{"node": {"name": "n"}, "brand_new": 1}]})"});
  EXPECT_EQ(run({"nodes"}).code, 0);
  daemon_.on("GET /api/v1/sources", Reply{.body = "<html>"});
  auto ended = run({"sources"});
  EXPECT_EQ(ended.code, kExitError);
  EXPECT_NE(ended.err.find("is not a ListSourcesResponse"), std::string::npos) << ended.err;
}

TEST_F(Program, ReadsAllPages) {
  auto first = message_of<v1::ListModelVersionsResponse>("versions");
  auto second = first;
  first.mutable_versions()->RemoveLast();
  first.set_next_page_token("a b");
  second.mutable_versions()->DeleteSubrange(0, 2);
  daemon_.on("GET /api/v1/models/flights/versions", first);
  daemon_.on("GET /api/v1/models/flights/versions", second);
  EXPECT_EQ(run({"models", "flights", "--limit", "0"}).out, golden("versions"));
  EXPECT_EQ(last_asked().query, "project=default&page_token=a%20b&page_size=1000");
}

TEST_F(Program, StopsAtTheLimit) {
  auto page = message_of<v1::ListRunsResponse>("runs");
  page.set_next_page_token("more");
  daemon_.on("GET /api/v1/runs", page);
  EXPECT_EQ(run({"runs", "--limit", "4", "--state", "failed", "--pipeline", "prices"}).code, 0);
  EXPECT_EQ(daemon_.asked().size(), 1u);
  EXPECT_EQ(last_asked().query, "project=default&pipeline=prices&state=FAILED&page_size=4");
}

TEST_F(Program, ShowsARun) {
  daemon_.on("GET /api/v1/runs/9c1d", message_of<v1::RunView>("run_done"));
  EXPECT_EQ(run({"runs", "9c1d"}).out, golden("run_done"));
  auto ended = run({"runs", "../../x"});
  EXPECT_EQ(ended.code, kExitNotFound);
  EXPECT_EQ(last_asked().path, "/api/v1/runs/..%2F..%2Fx");
}

TEST_F(Program, Submits) {
  v1::Run made;
  made.set_id("9c1d");
  daemon_.on("POST /api/v1/runs", made);
  auto ended = run({"submit", "flights", "--commit", "4f9d", "--project", "team-a"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.out, "run 9c1d submitted\n");
  v1::SubmitRequest request;
  ASSERT_TRUE(from_json(last_asked().body, &request).is_ok()) << last_asked().body;
  EXPECT_EQ(request.pipeline(), "flights");
  EXPECT_EQ(request.commit(), "4f9d");
  EXPECT_EQ(request.project(), "team-a");
  EXPECT_EQ(last_asked().idempotency_key.size(), 32u);
}

TEST_F(Program, SendsAChangeAgainUnderTheSameKey) {
  v1::Run made;
  made.set_id("9c1d");
  Reply lost;
  lost.is_lost = true;
  daemon_.on("POST /api/v1/runs", lost);
  daemon_.on("POST /api/v1/runs", made);
  auto ended = run({"submit", "flights"});
  EXPECT_EQ(ended.out, "run 9c1d submitted\n") << ended.err;
  ASSERT_EQ(daemon_.asked().size(), 2u);
  EXPECT_EQ(daemon_.asked()[0].idempotency_key, daemon_.asked()[1].idempotency_key);
  EXPECT_EQ(daemon_.asked()[0].body, daemon_.asked()[1].body);
}

TEST_F(Program, SaysHowToRepeatWhatMayHaveBeenDone) {
  Reply lost;
  lost.is_lost = true;
  daemon_.on("POST /api/v1/runs", lost);
  auto ended = run({"submit", "flights", "--idempotency-key", "k1"});
  EXPECT_EQ(ended.code, kExitUnreachable);
  EXPECT_NE(ended.err.find("--idempotency-key k1"), std::string::npos) << ended.err;
  EXPECT_EQ(daemon_.asked().size(), 2u);
  EXPECT_EQ(daemon_.asked()[1].idempotency_key, "k1");
}

// Two events, of which the second is the end.
std::vector<std::string> events(v1::Run::State end) {
  v1::RunEvent event = message_of<v1::RunEvent>("run_event");
  std::vector<std::string> all = {to_json(event)};
  event.mutable_run()->set_state(end);
  event.mutable_run()->mutable_steps(0)->set_state(v1::StepStatus::SUCCEEDED);
  event.mutable_run()->set_finished_us(kNow.us);
  all.push_back(to_json(event));
  return all;
}

TEST_F(Program, WaitsForTheEndOfARun) {
  v1::Run made;
  made.set_id("3f2a");
  for (auto [state, code, word] : {std::tuple{v1::Run::SUCCEEDED, kExitOk, "SUCCEEDED"},
                                   {v1::Run::FAILED, kExitRunFailed, "FAILED"},
                                   {v1::Run::CANCELLED, kExitRunFailed, "CANCELLED"}}) {
    FakeDaemon daemon;
    daemon.on("POST /api/v1/runs", made);
    daemon.on_events("/api/v1/runs/3f2a/events", events(state));
    auto ended = run({"submit", "flights", "--wait", "--server", daemon.url()});
    EXPECT_EQ(ended.code, code) << ended.err;
    EXPECT_EQ(ended.out, "run 3f2a submitted\ntrain: RUNNING (try 4)\ntrain: SUCCEEDED (try 4)\nrun 3f2a91c04be8 " +
                             std::string(word) + " in 41.0s\n");
  }
}

TEST_F(Program, FollowingOutlivesTheDaemonsRestart) {
  daemon_.on("GET /api/v1/runs/3f2a", message_of<v1::RunView>("run_waiting"));
  const std::string id = message_of<v1::RunView>("run_waiting").run().id();
  const auto all = events(v1::Run::SUCCEEDED);
  daemon_.on_events("/api/v1/runs/" + id + "/events", {all[0]});  // and then the stream breaks
  daemon_.on("GET /api/v1/runs/" + id + "/events", error(503, "unavailable", "starting"));
  daemon_.on_events("/api/v1/runs/" + id + "/events", {all[1]});
  auto ended = run({"runs", "3f2a", "--follow"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.out, "train: RUNNING (try 4)\ntrain: SUCCEEDED (try 4)\nrun 3f2a91c04be8 SUCCEEDED in 41.0s\n");
}

TEST_F(Program, FollowingGivesUpAfterAMinute) {
  daemon_.on("GET /api/v1/runs/3f2a", message_of<v1::RunView>("run_waiting"));
  daemon_.on("GET /api/v1/runs/3f2a91c04be84d1f9a6b7c8d9e0f1a2b/events", error(503, "unavailable", "starting"));
  auto ended = run({"runs", "3f2a", "--follow"});
  EXPECT_EQ(ended.code, kExitUnreachable);
  EXPECT_NE(ended.err.find("starting"), std::string::npos) << ended.err;
}

TEST_F(Program, ATerminalGetsAProgressBar) {
  is_terminal_ = true;
  daemon_.on("GET /api/v1/runs/3f2a", message_of<v1::RunView>("run_waiting"));
  daemon_.on_events("/api/v1/runs/3f2a91c04be84d1f9a6b7c8d9e0f1a2b/events", events(v1::Run::SUCCEEDED));
  auto ended = run({"runs", "3f2a", "--follow"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_NE(ended.out.find("\r\033[Ktrain  loss 0.5123  45,120 examples/s  41.5s"), std::string::npos) << ended.out;
  EXPECT_NE(ended.out.find("\r\033[Krun 3f2a91c04be8 \033[32mSUCCEEDED\033[0m in 41.0s\n"), std::string::npos)
      << ended.out;
}

TEST_F(Program, JsonOfAFollowedRunIsAlone) {
  daemon_.on("GET /api/v1/runs/3f2a", message_of<v1::RunView>("run_waiting"));
  daemon_.on_events("/api/v1/runs/3f2a91c04be84d1f9a6b7c8d9e0f1a2b/events", events(v1::Run::SUCCEEDED));
  auto ended = run({"runs", "3f2a", "--follow", "--json"});
  v1::Run parsed;
  EXPECT_TRUE(from_json(ended.out, &parsed).is_ok()) << ended.out;
  EXPECT_EQ(ended.err, "train: RUNNING (try 4)\ntrain: SUCCEEDED (try 4)\n");
}

TEST_F(Program, Cancels) {
  v1::Run run_after = message_of<v1::ListRunsResponse>("runs").runs(0);
  run_after.set_state(v1::Run::CANCELLED);
  run_after.set_finished_us(kNow.us);
  run_after.set_message("cancelled by admin: wrong data");
  daemon_.on("POST /api/v1/runs/3f2a/cancel", run_after);
  auto ended = run({"runs", "cancel", "3f2a", "--reason", "wrong data"});
  EXPECT_EQ(ended.out, "run 3f2a91c04be8 CANCELLED in 41.0s: cancelled by admin: wrong data\n") << ended.err;
  EXPECT_EQ(last_asked().body, R"({"reason":"wrong data"})");
  EXPECT_EQ(last_asked().query, "project=default");
}

Reply log_part(const std::string& text, uint64_t next, bool complete) {
  return {.body = text,
          .type = "text/plain",
          .headers = {"X-Freshet-Next-Offset: " + std::to_string(next),
                      std::string("X-Freshet-Complete: ") + (complete ? "true" : "false")}};
}

TEST_F(Program, PrintsALogToItsPresentEnd) {
  daemon_.on("GET /api/v1/runs/3f2a/logs", log_part("one\n", 4, false));
  daemon_.on("GET /api/v1/runs/3f2a/logs", log_part("two", 7, false));
  daemon_.on("GET /api/v1/runs/3f2a/logs", log_part("", 7, false));
  auto ended = run({"logs", "3f2a", "--step", "train", "--stderr"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.out, "one\ntwo");
  EXPECT_EQ(daemon_.asked().size(), 3u);
  EXPECT_EQ(last_asked().query, "project=default&step=train&stream=stderr&offset=7");
}

TEST_F(Program, FollowsTheLogsOfEachStep) {
  v1::RunView view = message_of<v1::RunView>("run_done");
  view.mutable_run()->set_state(v1::Run::RUNNING);
  view.mutable_run()->mutable_steps(1)->clear_epoch();
  daemon_.on("GET /api/v1/runs/9c1d", view);
  daemon_.on("GET /api/v1/runs/9c1d/logs", log_part("training\n", 9, false));
  daemon_.on("GET /api/v1/runs/9c1d/logs", log_part("", 9, false));
  daemon_.on("GET /api/v1/runs/9c1d/logs", log_part("", 9, true));
  daemon_.on("GET /api/v1/runs/9c1d", view);
  daemon_.on("GET /api/v1/runs/9c1d", message_of<v1::RunView>("run_done"));
  daemon_.on("GET /api/v1/runs/9c1d/logs", log_part("evaluating\n", 11, true));
  auto ended = run({"logs", "9c1d", "-f"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.out, "training\nevaluating\n");
}

TEST_F(Program, FollowingALogEndsWithItsReader) {
  daemon_.on("GET /api/v1/runs/3f2a/logs", log_part("", 0, false));
  pauses_left_ = 3;
  auto ended = run({"logs", "3f2a", "-f", "--step", "train"});
  EXPECT_EQ(ended.code, kExitError);
  EXPECT_EQ(ended.err, "freshet: nobody reads the output\n");
}

TEST_F(Program, ModelsInAllForms) {
  daemon_.on("GET /api/v1/models", message_of<v1::ListModelsResponse>("models"));
  daemon_.on("GET /api/v1/models/flights/versions", message_of<v1::ListModelVersionsResponse>("versions"));
  daemon_.on("GET /api/v1/models/flights/versions/2", message_of<v1::ModelVersion>("version"));
  EXPECT_EQ(run({"models"}).out, golden("models"));
  EXPECT_EQ(run({"models", "flights"}).out, golden("versions"));
  EXPECT_TRUE(run({"models", "flights/2"})
                  .out.starts_with("Version           flights/2\nAlias             champion, staging\n"));
  EXPECT_EQ(run({"models", "flights@staging"}).out, run({"models", "flights/2"}).out);
  EXPECT_EQ(run({"models", "flights@none"}).code, kExitNotFound);
  EXPECT_EQ(run({"models", "flights/0"}).err, "freshet: '0' is not a version; versions are whole numbers from 1\n");
  EXPECT_EQ(run({"models", "/2"}).code, kExitError);
}

TEST_F(Program, ModelsAsTheyWere) {
  auto versions = message_of<v1::ListModelVersionsResponse>("versions");
  versions.set_at_us(1'793'531'000'000'000);
  const auto answer = message_of<v1::AliasAtResponse>("alias_at");
  daemon_.on("GET /api/v1/models/flights/aliases/champion", answer);
  daemon_.on("GET /api/v1/models/flights/versions", versions);
  daemon_.on("GET /api/v1/models/flights/versions/2", message_of<v1::ModelVersion>("version"));
  daemon_.on("GET /api/v1/models/flights/moves", message_of<v1::ListAliasMovesResponse>("moves"));
  EXPECT_EQ(run({"models", "show", "flights@champion", "--at", "2026-11-01T11:00"}).out, golden("alias_at"));
  EXPECT_EQ(last_asked().query, "project=default&at=2026-11-01T11%3A00");
  EXPECT_EQ(run({"models", "flights@champion", "--at", "1h ago"}).out, golden("alias_at"));
  EXPECT_EQ(run({"models", "flights", "--at", "1h ago"}).out,
            "at 2026-11-01T11:03:20.000Z (UTC)\n" + golden("versions"));
  EXPECT_TRUE(run({"models", "show", "flights/2", "--at", "1h ago"})
                  .out.starts_with("at 2026-11-01T11:03:20.000Z (UTC)\nVersion           flights/2\n"));
  EXPECT_EQ(run({"models", "show", "flights/4", "--at", "1h ago"}).err,
            "freshet: flights/4 did not exist at 2026-11-01T11:03:20.000Z\n");
  EXPECT_EQ(run({"models", "history", "flights", "--alias", "champion"}).out, golden("moves"));
  EXPECT_EQ(last_asked().query, "project=default&alias=champion&page_size=50");
}

TEST_F(Program, LineageFollowsTheWarmStarts) {
  const auto versions = message_of<v1::ListModelVersionsResponse>("versions");
  daemon_.on("GET /api/v1/models/flights/versions", versions);
  for (const auto& version : versions.versions()) {
    daemon_.on("GET /api/v1/models/flights/versions/" + std::to_string(version.version()), version);
  }
  const v1::ModelVersion& champion = versions.versions(1);
  daemon_.on("GET /api/v1/runs/" + champion.run_id(), message_of<v1::RunView>("run_done"));
  daemon_.on("GET /api/v1/datasets/" + champion.inputs(0).dataset_digest(), message_of<v1::DatasetVersion>("dataset"));
  auto ended = run({"lineage", "flights"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  expect_golden("lineage_of_champion", ended.out);
  EXPECT_TRUE(run({"lineage", "flights/3"}).out.starts_with("flights/3\n"));
  EXPECT_EQ(run({"lineage", "flights@champion"}).out, ended.out);
  EXPECT_EQ(run({"lineage", "flights@none"}).code, kExitNotFound);
}

TEST_F(Program, MovesAliases) {
  v1::Alias alias;
  alias.set_model("flights");
  alias.set_alias("champion");
  alias.set_version(4);
  alias.set_previous_version(2);
  daemon_.on("POST /api/v1/models/flights/promote", alias);
  daemon_.on("POST /api/v1/models/flights/rollback", alias);
  EXPECT_EQ(run({"promote", "flights", "4", "--reason", "approved", "--override-gates"}).out,
            "flights: champion is now version 4 (was 2)\n");
  EXPECT_EQ(last_asked().body, R"({"version":"4","reason":"approved","override_gates":true})");
  EXPECT_EQ(run({"promote", "flights", "4", "--reason", "better", "--expect", "3"}).code, 0);
  EXPECT_EQ(last_asked().body, R"({"version":"4","reason":"better","expected_current_version":"3"})");
  EXPECT_EQ(run({"promote", "flights", "4", "--reason", "better", "--expect", "0"}).code, kExitError);
  EXPECT_EQ(run({"rollback", "flights", "--reason", "complaints", "--alias", "live"}).code, 0);
  EXPECT_EQ(last_asked().body, R"({"alias":"live","reason":"complaints"})");
  EXPECT_EQ(run({"promote", "flights", "four", "--reason", "x"}).code, kExitError);
}

TEST_F(Program, TriesDeadLettersOnceMore) {
  daemon_.on("POST /api/v1/dead_letters/redeliver", message_of<v1::ListDeadLettersResponse>("dead_letters"));
  auto ended = run({"webhooks", "redeliver", "7d1f", "--webhook", "on-call"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_TRUE(ended.out.starts_with("1 dead letters are tried once more")) << ended.out;
  EXPECT_EQ(last_asked().body, R"({"webhook":"on-call","event_ids":["7d1f"]})");
  EXPECT_EQ(run({"webhooks", "redeliver", "--all"}).code, 0);
  EXPECT_EQ(last_asked().body, R"({"all":true})");
  EXPECT_EQ(run({"webhooks", "redeliver"}).code, kExitError);
  daemon_.on("GET /api/v1/dead_letters", message_of<v1::ListDeadLettersResponse>("dead_letters"));
  EXPECT_NE(run({"webhooks", "dead", "on-call"}).out.find("7d1f0c3a9b2e4d5f8a6b7c8d9e0f1a2b"), std::string::npos);
  EXPECT_NE(last_asked().query.find("webhook=on-call"), std::string::npos);
}

TEST_F(Program, TestsAWebhook) {
  v1::Event event;
  event.set_id("7d1f");
  daemon_.on("POST /api/v1/webhooks/on-call/test", event);
  EXPECT_TRUE(run({"webhooks", "test", "on-call"}).out.starts_with("event 7d1f is on its way to on-call"));
}

TEST_F(Program, PausesTriggers) {
  daemon_.on("GET /api/v1/triggers", message_of<v1::ListTriggersResponse>("triggers"));
  EXPECT_EQ(run({"triggers"}).out, golden("triggers"));
  v1::TriggerView view;
  daemon_.on("POST /api/v1/triggers/nightly/resume", view);
  view.mutable_trigger()->mutable_spec()->set_paused(true);
  daemon_.on("POST /api/v1/triggers/nightly/pause", view);
  EXPECT_EQ(run({"triggers", "pause", "nightly"}).out, "trigger nightly paused\n");
  EXPECT_EQ(run({"triggers", "resume", "nightly"}).out, "trigger nightly active\n");
}

TEST_F(Program, DecidesAboutData) {
  daemon_.on("GET /api/v1/data/flights/days", message_of<v1::ListEntriesResponse>("entries"));
  EXPECT_EQ(run({"data", "list", "flights", "days", "--state", "quarantined"}).out, golden("entries"));
  EXPECT_EQ(last_asked().query, "project=default&state=QUARANTINED&page_size=1000");
  daemon_.on("POST /api/v1/data/flights/days/decide", message_of<v1::ListEntriesResponse>("entries"));
  EXPECT_EQ(run({"data", "discard", "flights", "days", "day=1", "day=2", "--reason", "bad"}).code, 0);
  EXPECT_EQ(last_asked().body, R"({"uris":["day=1","day=2"],"decision":"DISCARD","reason":"bad"})");
  EXPECT_EQ(run({"data", "release", "flights", "days", "--all", "--reason", "fine"}).code, 0);
  EXPECT_EQ(last_asked().body, R"({"decision":"RELEASE","reason":"fine"})");
  EXPECT_EQ(run({"data", "release", "flights", "days", "--reason", "fine"}).code, kExitError);
  EXPECT_EQ(run({"data", "release", "flights", "days", "day=1", "--all", "--reason", "fine"}).code, kExitError);
}

TEST_F(Program, OtherLists) {
  daemon_.on("GET /api/v1/sources", message_of<v1::ListSourcesResponse>("sources"));
  daemon_.on("GET /api/v1/pipelines", message_of<v1::ListPipelinesResponse>("pipelines"));
  daemon_.on("GET /api/v1/nodes", message_of<v1::ListNodesResponse>("nodes"));
  daemon_.on("GET /api/v1/audit", message_of<v1::ListAuditResponse>("audit"));
  for (const char* name : {"sources", "pipelines", "nodes", "audit"}) EXPECT_EQ(run({name}).out, golden(name)) << name;
}

TEST_F(Program, AuditIsFilteredByTheDaemon) {
  daemon_.on("GET /api/v1/audit", message_of<v1::ListAuditResponse>("audit"));
  EXPECT_EQ(run({"audit", "--actor", "admin", "--action", "promote", "--since", "1h ago"}).code, 0);
  const std::string asked = last_asked().query;
  for (const char* part : {"actor=admin", "action=promote", "since_us="})
    EXPECT_NE(asked.find(part), std::string::npos) << asked;
  EXPECT_EQ(run({"audit", "--since", "some day"}).code, kExitError);
}

TEST_F(Program, AuditVerifySaysWhichRecordDoesNotFit) {
  v1::VerifyAuditResponse verified;
  verified.set_checked(41);
  verified.set_revision(57);
  daemon_.on("GET /api/v1/audit/verify", verified);
  verified.mutable_problem()->set_message("the audit record of revision 58 was changed");
  daemon_.on("GET /api/v1/audit/verify", verified);
  EXPECT_EQ(run({"audit", "verify"}).out, "41 audit records hold, up to revision 57\n");
  auto ended = run({"audit", "verify"});
  EXPECT_EQ(ended.code, kExitError);
  EXPECT_EQ(ended.out,
            "the audit log is broken: the audit record of revision 58 was changed\n41 audit records hold before it\n");
}

TEST_F(Program, AuditHeadIsWhatVerifyReads) {
  v1::AuditHead head;
  head.set_revision(57);
  head.set_digest(std::string(64, 'a'));
  daemon_.on("GET /api/v1/audit/head", head);
  const std::string file = dir_ / "heads";
  write("heads", run({"audit", "head"}).out + run({"audit", "head"}).out);
  v1::VerifyAuditResponse verified;
  verified.set_checked(1);
  verified.set_revision(57);
  daemon_.on("GET /api/v1/audit/verify", verified);
  EXPECT_EQ(run({"audit", "verify", "--head", file}).out,
            "1 audit records hold, up to revision 57\nthe log holds what was kept: 2 heads\n");
  EXPECT_NE(last_asked().query.find("57"), std::string::npos);
  write("heads", "nothing\n");
  EXPECT_NE(run({"audit", "verify", "--head", file}).err.find("is not what `freshet audit head` printed"),
            std::string::npos);
}

TEST_F(Program, VersionSaysWhetherThereIsADaemon) {
  EXPECT_NE(run({"version", "--data-dir", "/nowhere"}).out.find("no daemon: "), std::string::npos);
  v1::VersionResponse version;
  version.set_version("9.9");
  version.set_term(3);
  version.set_revision(17);
  daemon_.on("GET /api/v1/version", version);
  EXPECT_NE(run({"version"}).out.find("daemon 9.9 at " + daemon_.url() + ", term 3, revision 17\n"), std::string::npos);
  EXPECT_EQ(run({"version", "--json", "--data-dir", "/nowhere"}).code, kExitUnreachable);
}

TEST_F(Program, Applies) {
  write("configs/a.yaml",
        "api_version: freshet/v1\nkind: Source\nmetadata: {name: files}\nspec:\n  directory:\n    uri: "
        "file://${ROOT}/in\n");
  write("configs/b.yml",
        "api_version: freshet/v1\nkind: Source\nmetadata: {name: code, project: other}\nspec: {git: {uri: x, branch: "
        "main}}\n");
  write("configs/notes.txt", "not read");
  write("configs/deeper/c.yaml", "not read either: {");
  const std::string dir = (dir_ / "configs").string();
  daemon_.on("POST /api/v1/apply", message_of<v1::ApplyResponse>("applied"));
  auto ended = run({"apply", "-f", dir, "--var", "ROOT=/data", "--project", "team-a"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_TRUE(golden("applied").starts_with(ended.out)) << ended.out;
  v1::ApplyRequest request;
  ASSERT_TRUE(from_json(last_asked().body, &request).is_ok());
  ASSERT_EQ(request.sources_size(), 2);
  EXPECT_EQ(request.sources(0).spec().directory().uri(), "file:///data/in");
  EXPECT_EQ(request.sources(0).metadata().project(), "team-a");
  EXPECT_EQ(request.sources(1).metadata().project(), "other");

  daemon_.on("POST /api/v1/diff", message_of<v1::ApplyResponse>("applied"));
  EXPECT_TRUE(golden("applied").ends_with(run({"diff", "-f", dir, "--var", "ROOT=/data"}).out));
  const size_t asked = daemon_.asked().size();
  ended = run({"apply", "-f", dir});
  EXPECT_EQ(ended.code, kExitError);
  EXPECT_EQ(ended.err,
            "freshet: " + dir +
                "/a.yaml:6: spec.directory.uri: variable ROOT is not defined; give it with --var ROOT=VALUE\n");
  EXPECT_EQ(daemon_.asked().size(), asked);
}

TEST_F(Program, AppliesStandardInput) {
  daemon_.on("POST /api/v1/apply", v1::ApplyResponse());
  input_ = "api_version: freshet/v1\nkind: Source\nmetadata: {name: code}\nspec: {git: {uri: x, branch: main}}\n";
  EXPECT_EQ(run({"apply", "-f", "-"}).code, 0);
  input_ = "kind: Source";
  auto ended = run({"apply", "-f", "-"});
  EXPECT_EQ(ended.err, "freshet: standard input:1: api_version: is missing; write api_version: freshet/v1\n");
}

TEST_F(Program, UpFindsADaemonThatAlreadyServes) {
  daemon_.on("GET /readyz", Reply{.body = "ready\n", .type = "text/plain"});
  auto ended = run({"up", "--detach"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.out, "freshetd already serves " + dir_.string() + " at " + daemon_.url() + "\n");
}

TEST_F(Program, UpShowsWhyTheDaemonEnded) {
  write("address", "http://127.0.0.1:1\n");
  write("daemon", "#!/bin/sh\necho \"freshetd: the data directory is locked: $*\" >&2\nexit 3\n");
  std::filesystem::permissions(dir_ / "daemon", std::filesystem::perms::owner_all);
  auto ended = run({"up", "--detach", "--daemon", (dir_ / "daemon").string(), "--listen", "127.0.0.1:0"});
  EXPECT_EQ(ended.code, kExitError);
  EXPECT_EQ(ended.err, "freshet: freshetd ended with code 3. The end of " + (dir_ / "freshetd.log").string() +
                           ":\nfreshetd: the data directory is locked: --data-dir " + dir_.string() +
                           " --listen 127.0.0.1:0\n\n");
  ended = run({"up", "--detach", "--daemon", "/nowhere/freshetd"});
  EXPECT_EQ(ended.code, kExitNotFound);
}

}  // namespace
}  // namespace freshet::cli::test
