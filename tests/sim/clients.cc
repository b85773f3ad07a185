#include "tests/sim/clients.h"

#include "proto/api.pb.h"
#include "proto/json.h"
#include "scheduler/run_graph.h"
#include "tests/sim/text.h"

namespace freshet::sim {
namespace {

constexpr uint64_t kLostOdds = 15;

// Whether the same request may fare better later.
bool is_passing(const Status& status) {
  return status.code() == Code::kUnavailable || status.code() == Code::kDeadline ||
         status.code() == Code::kResourceExhausted || status.code() == Code::kInternal;
}

}  // namespace

Result<std::string> Clients::http(const std::string& method, const std::string& path, const std::string& body) {
  if (faults_.strikes("client: request lost", kLostOdds)) return unavailable("the connection broke");
  auto answer = world_.call(method, path, body);
  if (faults_.strikes("client: answer lost", kLostOdds)) return unavailable("the connection broke");
  if (!answer.is_ok() && (answer.status().code() == Code::kCorrupt || answer.status().code() == Code::kInternal)) {
    checker_.fail("the daemon answers " + method + " " + path + ": " + answer.status().to_string());
  }
  return answer;
}

void Clients::attempt(const std::string& method, const std::string& path, const std::string& body,
                      const Answer& answer) {
  auto result = http(method, path, body);
  if (result.is_ok() || !is_passing(result.status())) {
    --open_;
    answer(result);
    return;
  }
  world_.at(Duration::millis(static_cast<int64_t>(200 + world_.draw(5000))), nullptr,
            [this, method, path, body, answer] { attempt(method, path, body, answer); });
}

void Clients::request(const std::string& method, const std::string& path, const std::string& body, Answer answer) {
  ++open_;
  world_.at(Duration::millis(static_cast<int64_t>(world_.draw(20))), nullptr,
            [this, method, path, body, answer = std::move(answer)] { attempt(method, path, body, answer); });
}

void Clients::apply(const std::string& documents) {
  documents_ = documents;
  request("POST", "/api/v1/apply", documents, [this](const auto& answer) {
    // Another apply may have been first.
    if (!answer.is_ok() && answer.status().code() != Code::kConflict) {
      checker_.fail("apply: " + answer.status().to_string());
    }
  });
}

void Clients::act() {
  switch (world_.draw(14)) {
    case 0:
    case 1:
    case 2:
      return submit();
    case 3:
    case 4:
      return cancel();
    case 5:
      return race_promoters();
    case 6:
      return roll_back();
    case 7:
      return change_documents();
    case 8:
      return pause_trigger();
    case 9:
      return decide_data();
    case 10:
      return ask_of_webhooks();
    case 11:
    case 12:
      return replay(world_.draw(2) == 0 ? "churn" : "demand");
    default:
      return look();
  }
}

void Clients::submit(bool at_once) {
  const std::string key = "key-" + std::to_string(next_key_++);
  const std::string pipeline = world_.draw(3) == 0 ? "churn" : "demand";
  expectation_.submit_sent(key);
  const std::string body = R"({"pipeline": ")" + pipeline + R"(", "idempotency_key": ")" + key + R"("})";
  auto check = [this, key](const Result<std::string>& answer) {
    if (!answer.is_ok()) return;
    v1::Run run;
    CHECK(from_json(*answer, &run).is_ok());
    if (!checker_.runs().contains("run/default/" + run.id())) checker_.fail("I1: acknowledged but not stored: " + key);
    const std::string wrong = expectation_.submit_acknowledged(key, run.id());
    if (!wrong.empty()) checker_.fail(wrong);
  };
  if (at_once) {
    ++open_;
    return attempt("POST", "/api/v1/runs", body, check);
  }
  request("POST", "/api/v1/runs", body, check);
  // Some send it again all the same, perhaps while the first is being answered.
  if (world_.draw(3) == 0) request("POST", "/api/v1/runs", body, check);
}

void Clients::cancel() {
  std::vector<std::string> active;
  for (const auto& [key, run] : checker_.runs()) {
    if (!scheduler::is_final(run.state())) active.push_back(run.id());
  }
  if (active.empty()) return;
  const std::string id = active[world_.draw(active.size())];
  expectation_.cancel_sent(id);
  request("POST", "/api/v1/runs/" + id + "/cancel", R"({"reason": "cancel"})", [this, id](const auto& answer) {
    if (answer.is_ok() && checker_.runs().at("run/default/" + id).state() != v1::Run::CANCELLED) {
      checker_.fail("I1: the cancellation of run " + id + " was acknowledged but is not stored");
    }
  });
}

uint64_t Clients::newest_version(const std::string& model) const {
  uint64_t newest = 0;
  for (const auto& [key, version] : checker_.versions()) {
    if (version.model() == model) newest = std::max(newest, version.version());
  }
  return newest;
}

std::string Clients::promotion(const std::string& model, uint64_t version, bool overrides) {
  expectation_.promote_sent(model, version);
  return R"({"version": )" + std::to_string(version) + R"(, "reason": "promote")" +
         (overrides ? R"(, "override_gates": true)" : "");
}

void Clients::race_promoters() {
  const std::string model = world_.draw(2) == 0 ? "churn" : "demand";
  const uint64_t newest = newest_version(model);
  if (newest == 0) return;
  auto alias = checker_.aliases().find("alias/default/" + model + "/champion");
  const uint64_t current = alias == checker_.aliases().end() ? 0 : alias->second.version();
  for (int i = 0; i < 3; ++i) {
    const uint64_t version = 1 + world_.draw(newest);
    const bool overrides = world_.draw(4) == 0;
    request("POST", "/api/v1/models/" + model + "/promote",
            promotion(model, version, overrides) + R"(, "expected_current_version": )" + std::to_string(current) + "}",
            [](const auto&) {});
  }
}

// Between a look at the alias and the commit that moves it, where drawn times would seldom meet. The submit before it
// gives the rival's move a number of its own.
void Clients::at_point(std::string_view point) {
  if (is_rival_ || (point != "promote.alias.before_commit" && point != "promotion.candidate.before_commit")) return;
  const std::string model = world_.draw(2) == 0 ? "churn" : "demand";
  const uint64_t newest = newest_version(model);
  if (newest == 0 || !faults_.strikes("client: rival promoter", 3)) return;
  is_rival_ = true;
  submit(true);
  ++open_;
  attempt("POST", "/api/v1/models/" + model + "/promote", promotion(model, 1 + world_.draw(newest), true) + "}",
          [](const auto&) {});
  is_rival_ = false;
}

void Clients::roll_back() {
  const std::string model = world_.draw(2) == 0 ? "churn" : "demand";
  expectation_.rollback_sent(model);
  request("POST", "/api/v1/models/" + model + "/rollback", R"({"reason": "rollback"})", [](const auto&) {});
}

void Clients::replay_later(const std::string& model, Duration after) {
  ++open_;
  world_.at(after, nullptr, [this, model] {
    --open_;
    replay(model);
  });
}

void Clients::replay(const std::string& model) {
  const uint64_t newest = newest_version(model);
  if (newest == 0) return;
  const std::string version = std::to_string(1 + world_.draw(newest));
  expectation_.replay_sent(model + "/" + version);
  request("POST", "/api/v1/models/" + model + "/versions/" + version + "/replay", R"({"reason": "replay"})",
          [this, model, version](const auto& answer) {
            if (!answer.is_ok())
              checker_.fail("replay of " + model + "/" + version + ": " + answer.status().to_string());
          });
}

void Clients::change_documents() {
  apply(replaced(documents_, "\"seed\": 1", "\"seed\": 1" + std::to_string(world_.draw(10))));
}

void Clients::pause_trigger() {
  const char* triggers[] = {"new-sales", "now-and-then", "new-code"};
  const std::string path = std::string("/api/v1/triggers/") + triggers[world_.draw(3)];
  // Resumed only when the pause is settled, else a pause that is tried again would come last.
  request("POST", path + "/pause", "", [this, path](const auto&) {
    ++open_;
    world_.at(Duration::millis(static_cast<int64_t>(world_.draw(120'000))), nullptr, [this, path] {
      --open_;
      request("POST", path + "/resume", "", [](const auto&) {});
    });
  });
}

void Clients::decide_data() {
  expectation_.decision_sent();
  request("POST", "/api/v1/data/demand/sales/decide",
          world_.draw(2) == 0 ? R"({"decision": "DISCARD", "reason": "decide"})"
                              : R"({"decision": "RELEASE", "reason": "decide"})",
          [](const auto&) {});
}

void Clients::ask_of_webhooks() {
  if (world_.draw(2) == 0) {
    request("POST", "/api/v1/dead_letters/redeliver", R"({"all": true})", [](const auto&) {});
  } else {
    request("POST", "/api/v1/webhooks/watcher/test", "", [](const auto&) {});
  }
}

void Clients::look() {
  const char* paths[] = {"/api/v1/runs",
                         "/api/v1/models",
                         "/api/v1/nodes",
                         "/api/v1/triggers",
                         "/api/v1/sources",
                         "/api/v1/audit",
                         "/api/v1/data/demand/sales",
                         "/api/v1/pipelines"};
  request("GET", paths[world_.draw(std::size(paths))], "", [](const auto&) {});
  if (checker_.runs().empty()) return;
  auto run = checker_.runs().begin();
  std::advance(run, world_.draw(checker_.runs().size()));
  request("GET", "/api/v1/runs/" + run->second.id(), "", [](const auto&) {});
}

}  // namespace freshet::sim
