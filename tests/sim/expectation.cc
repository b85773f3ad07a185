#include "tests/sim/expectation.h"

#include "daemon/store/keys.h"

namespace freshet::sim {
namespace {

constexpr uint32_t kUsersFailuresMax = 3;
constexpr uint64_t kAttemptsMax = 10;              // that infrastructure may lose
constexpr double kAucMin = 0.55, kLossMax = 0.52;  // as the applied gates have it

bool is_final(v1::Run::State state) {
  return state == v1::Run::SUCCEEDED || state == v1::Run::FAILED || state == v1::Run::CANCELLED;
}

// Whether a bad end is the program's own doing; a kill or a stop from outside is not.
bool is_users_fault(const v1::ExitRecord& exit) {
  if (exit.cause() == v1::ExitRecord::SIGNALLED) return exit.signal() != 9 && exit.signal() != 15;
  return exit.cause() == v1::ExitRecord::EXITED || exit.cause() == v1::ExitRecord::OUT_OF_MEMORY ||
         exit.cause() == v1::ExitRecord::TIMED_OUT;
}

uint64_t attempts_of(const Checker& seen, const std::string& work) {
  uint64_t count = 0;
  const std::string prefix = "attempt/" + work + "/";
  for (auto item = seen.attempts().lower_bound(prefix); item != seen.attempts().end(); ++item, ++count) {
    if (!item->first.starts_with(prefix)) break;
  }
  return count;
}

}  // namespace

std::string Expectation::submit_acknowledged(const std::string& key, const std::string& run_id) {
  auto [found, is_new] = acknowledged_.emplace(key, run_id);
  if (is_new || found->second == run_id) return "";
  return "I1: key " + key + " gave run " + found->second + " and then run " + run_id;
}

void Expectation::exited(const v1::AttemptSpec& spec, const v1::ExitRecord& exit, bool has_output) {
  const bool good = exit.cause() == v1::ExitRecord::EXITED && exit.code() == 0 && has_output;
  if (!good && is_users_fault(exit)) ++users_failures_[keys::work(spec.work())];
}

void Expectation::reported(const std::string& digest, const std::string& champion, double auc, double loss) {
  reports_[digest] = {champion, auc, loss};
}

std::string Expectation::replayed(const std::string& digest, const v1::ReplayReport& report, bool is_engines_fault) {
  replays_[digest] = report;
  if (report.is_equal() || is_engines_fault || !report.other_start().empty()) return "";
  return "I15: a replay of " + (report.version().empty() ? "a candidate" : report.version()) +
         " was given another training than the record's";
}

std::string Expectation::reported_champion(const std::string& digest) const {
  auto found = reports_.find(digest);
  return found == reports_.end() ? "no report" : found->second.champion;
}

std::string Expectation::check(const Checker& seen) const {
  for (auto part : {&Expectation::check_runs, &Expectation::check_entries, &Expectation::check_triggers,
                    &Expectation::check_models}) {
    std::string wrong = (this->*part)(seen);
    if (!wrong.empty()) return wrong;
  }
  return "";
}

std::string Expectation::check_runs(const Checker& seen) const {
  for (const auto& [key, id] : acknowledged_) {
    auto run = seen.runs().find(keys::run("default", id));
    if (run == seen.runs().end()) return "I1: the acknowledged run " + id + " is not stored";
    if (run->second.idempotency_key() != key) return "I1: run " + id + " is not the one of key " + key;
  }
  std::set<std::string> keys_used;
  for (const auto& [stored, run] : seen.runs()) {
    const std::string& key = run.idempotency_key();
    const bool asked_for = run.replay_of().empty() ? keys_sent_.contains(key) : replays_sent_.contains(run.replay_of());
    if (run.trigger().empty() && !asked_for) return "I1: nobody asked for run " + run.id();
    if (!key.empty() && !keys_used.insert(key).second) return "I1: key " + key + " has made two runs";
    std::string wrong = check_run(seen, run);
    if (!wrong.empty()) return wrong;
  }
  return "";
}

std::string Expectation::check_run(const Checker& seen, const v1::Run& run) const {
  if (!is_final(run.state())) return "I13: run " + run.id() + " has not ended";
  if (run.state() == v1::Run::CANCELLED && !cancels_.contains(run.id())) {
    return "I5: nobody has cancelled run " + run.id();
  }
  bool failed = false;
  for (const auto& step : run.steps()) {
    const std::string work = "default/run/" + run.id() + "/" + step.name();
    auto failures = users_failures_.find(work);
    const uint64_t users = failures == users_failures_.end() ? 0 : failures->second;
    if (step.failures() > users) {
      return "I10: " + work + " has " + std::to_string(step.failures()) + " failures on the user's account, but " +
             std::to_string(users) + " of its gangs failed so";
    }
    if (step.failures() > kUsersFailuresMax) return "I10: " + work + " went on after its budget";
    bool is_refuted = false;
    if (std::string wrong = check_replay(run, step, &is_refuted); !wrong.empty()) return wrong;
    if (step.state() != v1::StepStatus::FAILED) continue;
    failed = true;
    if (is_refuted) continue;
    if (step.failures() < kUsersFailuresMax && attempts_of(seen, work) < kAttemptsMax) {
      return "I10: " + work + " failed within its budgets: " + step.message();
    }
  }
  if (failed != (run.state() == v1::Run::FAILED) && run.state() != v1::Run::CANCELLED) {
    return "I5: the state of run " + run.id() + " is not that of its steps";
  }
  if (run.state() == v1::Run::SUCCEEDED && run.model_version().empty() && run.replay_of().empty())
    return "I8: run " + run.id() + " left no version";
  return "";
}

// A step that left a replay's report ended as the report says.
std::string Expectation::check_replay(const v1::Run& run, const v1::StepStatus& step, bool* is_refuted) const {
  for (const auto& output : step.outputs()) {
    auto found = replays_.find(output.digest());
    if (found == replays_.end()) continue;
    const v1::ReplayReport& report = found->second;
    *is_refuted =
        !run.replay_of().empty() && !report.is_equal() && report.is_same_numerics() && report.other_start().empty();
    const v1::StepStatus::State expected = *is_refuted ? v1::StepStatus::FAILED : v1::StepStatus::SUCCEEDED;
    if (step.state() != expected && run.state() != v1::Run::CANCELLED) {
      return "I15: step " + step.name() + " of run " + run.id() + " did not end as its replay did";
    }
  }
  return "";
}

bool Expectation::has_equal_replay(const v1::Run& run) const {
  for (const auto& step : run.steps()) {
    for (const auto& output : step.outputs()) {
      auto found = replays_.find(output.digest());
      if (found != replays_.end() && found->second.is_equal() && found->second.is_same_numerics()) return true;
    }
  }
  return false;
}

std::string Expectation::check_entries(const Checker& seen) const {
  uint64_t decided = 0;
  for (const auto& [key, entry] : seen.entries()) {
    const std::string& uri = entry.entry().uri();
    auto file = files_.find(uri);
    const bool present = file != files_.end() && file->second == entry.entry().sha256();
    if (entry.reason().find("released by") != std::string::npos ||
        entry.reason().find("discarded by") != std::string::npos) {
      ++decided;
      continue;
    }
    if (!present) {
      if (entry.state() != v1::EntryRecord::GONE) return "I13: " + key + " is there though the file is gone";
      continue;
    }
    const bool poisoned = uri.find("poison") != std::string::npos;
    if (entry.state() == v1::EntryRecord::ACCEPTED && !poisoned) continue;
    if (entry.state() == v1::EntryRecord::QUARANTINED && poisoned) continue;
    const std::string work = "default/inspection/" + entry.inspection_id();
    auto failures = users_failures_.find(work);
    const bool spent = (failures != users_failures_.end() && failures->second >= kUsersFailuresMax) ||
                       attempts_of(seen, work) >= kAttemptsMax;
    if (entry.state() == v1::EntryRecord::QUARANTINED && spent) continue;
    return "I13: " + key + " is in state " + std::to_string(entry.state()) + ": " + entry.reason();
  }
  if (decided > 0 && decisions_ == 0) return "I5: nobody has decided on quarantined data";
  for (const auto& [uri, sha256] : files_) {
    for (const char* pipeline : {"demand", "churn"}) {
      if (!seen.entries().contains(keys::entry("default", pipeline, "sales", uri, sha256))) {
        return "I1: the file " + uri + " was never recorded for " + pipeline;
      }
    }
  }
  return "";
}

std::string Expectation::check_triggers(const Checker& seen) const {
  uint64_t from_commits = 0;
  for (const auto& [key, run] : seen.runs()) {
    if (run.trigger() == "new-code") ++from_commits;
    if (run.trigger() == "now-and-then" && due_time(run).empty()) {
      return "I9: run " + run.id() + " has no due time: " + run.cause();
    }
  }
  if (from_commits > commits_) return "I9: more runs than commits";
  auto code = seen.triggers().find(keys::trigger_state("default", "new-code"));
  if (code == seen.triggers().end() || code->second.last_commit() != head_) {
    return "I9: the head " + head_ + " was not looked at by the trigger on commits";
  }
  auto data = seen.triggers().find(keys::trigger_state("default", "new-sales"));
  if (data == seen.triggers().end()) return "I9: the trigger on data has no state";
  uint64_t rows = 0, accepted = 0, once_accepted = 0;
  for (const auto& [key, entry] : seen.entries()) {
    if (entry.pipeline() != "demand" || entry.profile().rows() == 0) continue;
    ++once_accepted;
    if (entry.state() != v1::EntryRecord::ACCEPTED) continue;
    ++accepted;
    if (entry.order() > data->second.entries_consumed()) rows += entry.profile().rows();
  }
  constexpr uint64_t kRowsMin = 300, kHeldOut = 2;  // as applied
  // With no entry to train on it has to wait, however many rows have come.
  if (rows >= kRowsMin && accepted > kHeldOut) {
    return "I9: " + std::to_string(rows) + " new rows did not fire: " + data->second.last_decision();
  }
  if (data->second.fired() > once_accepted) return "I9: fired more often than entries were accepted";
  return "";
}

std::string Expectation::check_models(const Checker& seen) const {
  std::map<std::string, uint64_t> moved_by_control;  // by version
  for (const auto& move : seen.moves()) {
    const v1::Alias& to = move.alias();
    const std::string name = to.model() + "/" + std::to_string(to.version());
    if (to.actor() == "control/run") {
      ++moved_by_control[name];
      auto version = seen.versions().find(keys::model_version("default", to.model(), to.version()));
      const std::string compared_with =
          to.previous_version() == 0 ? "" : to.model() + "/" + std::to_string(to.previous_version());
      if (version == seen.versions().end() || version->second.verdict().champion_version() != compared_with ||
          reported_champion(version->second.verdict().report_digest()) != compared_with) {
        return "I7: " + name + " replaced " + compared_with + ", with which it was not compared";
      }
    } else if (to.reason() == "rollback") {
      if (!rollbacks_.contains(to.model())) return "I7: nobody rolled back to " + name;
    } else {
      auto asked = promotes_.find(to.model());
      if (asked == promotes_.end() || !asked->second.contains(to.version())) return "I7: nobody promoted " + name;
    }
  }
  std::map<std::string, uint64_t> versions_of_run;
  for (const auto& [key, version] : seen.versions()) {
    if (++versions_of_run[version.run_id()] > 1) return "I8: run " + version.run_id() + " made two versions";
    auto report = reports_.find(version.verdict().report_digest());
    if (report == reports_.end()) return "I7: no gang made the report that " + key + " was judged by";
    const auto& [champion, auc, loss] = report->second;
    const bool compared = version.pipeline() == "demand" && !champion.empty();
    bool passes = auc >= kAucMin && (!compared || loss <= kLossMax);
    for (const auto& gate : version.verdict().gates()) {
      if (gate.gate().has_replay())
        passes = passes && has_equal_replay(seen.runs().at(keys::run("default", version.run_id())));
    }
    if (version.verdict().passed() != passes) return "I7: the verdict of " + key + " is wrong";
    const bool automatic = version.pipeline() == "demand";
    const std::string name = version.model() + "/" + std::to_string(version.version());
    if (moved_by_control[name] != (passes && automatic ? 1 : 0)) {
      return "I7: " + name + " was promoted " + std::to_string(moved_by_control[name]) + " times by itself";
    }
  }
  return "";
}

}  // namespace freshet::sim
