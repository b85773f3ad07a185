#include "tests/sim/life.h"

#include "base/sha256.h"
#include "scheduler/run_graph.h"
#include "tests/sim/documents.h"
#include "tests/sim/text.h"

namespace freshet::sim {
namespace {

constexpr Duration kFaulty = Duration::seconds(30 * 60);
constexpr Duration kRest = Duration::seconds(40 * 60);  // until then everything has ended
// Between rounds of collection, and its grace period: the rests of uploads go, and so do versions soon after the
// others.
constexpr control::GcOptions kCollection = {Duration::seconds(100), Duration::seconds(20)};
constexpr Duration kCollectedAfter = Duration::seconds(300);
constexpr Duration kQuiet = Duration::seconds(30);
constexpr Duration kFaultsApart = Duration::seconds(90);
constexpr Duration kActsApart = Duration::seconds(120);
constexpr Duration kFilesApart = Duration::seconds(200);
constexpr Duration kCommitsApart = Duration::seconds(800);

class Life final : public GangWatcher {
 public:
  Life(uint64_t seed, bool trace)
      : world_(seed, {.trace = trace, .preempt = true, .heartbeat_ms = 8000, .lease_ms = 20000, .gc = kCollection}),
        checker_(world_),
        faults_(world_, kFaultsApart),
        clients_(world_, faults_, checker_, expectation_) {
    world_.set_gang_watcher(*this);
    faults_.on_point([this](std::string_view point) { clients_.at_point(point); });
  }

  LifeResult live() {
    const uint64_t nodes = 2 + world_.draw(2);
    for (uint64_t i = 1; i <= nodes; ++i) {
      world_.add_agent("node-" + std::to_string(i), static_cast<uint32_t>(2 + world_.draw(2)));
    }
    world_.start_daemon();
    documents_ = replaced(replaced(kLifeDocuments, "%SEED%", "1"), "%CATCH_UP%", world_.draw(2) == 0 ? "ONCE" : "SKIP");
    // One of the pipelines demands replays, or none does.
    const uint64_t demands = world_.draw(3);
    documents_ = replaced(documents_, "%DEMAND_REPLAY%", demands == 1 ? kReplayGate : "");
    documents_ = replaced(documents_, "%CHURN_REPLAY%", demands == 2 ? kReplayGate : "");
    clients_.apply(documents_);
    add_commit();
    for (int i = 0; i < 4; ++i) add_file();
    every(kFilesApart, [this] { change_files(); });
    every(kCommitsApart, [this] { add_commit(); });
    every(kActsApart, [this] { clients_.act(); });
    world_.at(Duration::millis(static_cast<int64_t>(world_.draw(5000))), nullptr, [this] { faults_.begin(); });
    world_.run_until([this] { return is_broken(); }, kFaulty);
    if (!is_broken()) rest();
    return result();
  }

  // ---- GangWatcher ----
  GangFate fate(const v1::AttemptSpec& spec) override {
    GangFate fate = faults_.fate(spec);
    fates_[spec.gang_id()] = fate.kind;
    return fate;
  }
  bool is_impatient() override { return faults_.strikes("agent: journal sent again", 3); }
  void on_launched(const v1::AttemptSpec& spec) override { checker_.on_launched(spec); }
  void on_exit(const v1::AttemptSpec& spec, const v1::ExitRecord& exit) override {
    expectation_.exited(spec, exit, fates_[spec.gang_id()] != GangFate::kLeavesNothing);
  }
  void on_acknowledged(const std::string& gang_id, uint64_t sequence) override {
    checker_.on_acknowledged(gang_id, sequence);
  }
  void on_forgotten(const v1::AttemptSpec& spec) override { checker_.on_forgotten(spec); }
  void on_report(const v1::AttemptSpec& spec, const std::string& digest, const GangFate& fate) override {
    expectation_.reported(digest, spec.evaluate().champion_version(), fate.auc, fate.loss);
  }
  void on_replay(const v1::AttemptSpec&, const std::string& digest, const GangFate& fate,
                 const v1::ReplayReport& report) override {
    const std::string wrong = expectation_.replayed(digest, report, fate.replay != GangFate::kSameWeights);
    if (!wrong.empty()) checker_.fail(wrong);
  }

 private:
  bool is_broken() const { return !checker_.broken().empty(); }

  // Again and again, about so far apart, until the faults end.
  void every(Duration apart, const std::function<void()>& act) {
    const auto wait = static_cast<int64_t>(world_.draw(2 * static_cast<uint64_t>(apart.us)));
    world_.at(Duration::micros(wait), nullptr, [this, apart, act] {
      if (resting_) return;
      act();
      every(apart, act);
    });
  }

  // ---- the sources ----
  void put_file(const std::string& uri, const std::string& content) {
    ObservedFile file;
    file.uri = uri;
    file.size = 100 + world_.draw(100);
    file.sha256 = Sha256::hex_of(content + std::to_string(file.size));
    file.changed = world_.clock().now();
    // Some were made long ago and are moved in only now.
    if (faults_.strikes("source: an old file arrives late", 20)) {
      file.changed = file.changed - Duration::seconds(3600 * 30);
    }
    expectation_.file_present(file.uri, file.sha256);
    files_[uri] = file;
    world_.sources().add_file("default", "drops", file);
  }
  void add_file() {
    const std::string name = "day-" + std::to_string(1000 + ++file_count_);
    put_file(name + (world_.draw(8) == 0 ? "-poison.parquet" : ".parquet"), name);
  }
  void change_files() {
    const uint64_t what = world_.draw(10);
    auto file = files_.begin();
    if (!files_.empty()) std::advance(file, world_.draw(files_.size()));
    if (what == 0 && faults_.strikes("source: a file is replaced", 1)) {
      put_file(file->first, file->first + std::to_string(++file_count_));
    } else if (what == 1 && faults_.strikes("source: a file is seen again", 1)) {
      file->second.changed = world_.clock().now();
      world_.sources().add_file("default", "drops", file->second);
    } else if (what == 2 && files_.size() > 5 && faults_.strikes("source: a file is removed", 1)) {
      const std::string uri = file->first;
      files_.erase(file);
      expectation_.file_removed(uri);
      world_.sources().remove_file("default", "drops", uri);
    } else if (what == 3 && faults_.strikes("source: degraded", 1)) {
      const std::string source = world_.draw(2) == 0 ? "drops" : "code";
      world_.sources().set_degraded("default", source, "it can't be read");
      world_.at(Duration::millis(static_cast<int64_t>(world_.draw(60'000))), nullptr,
                [this, source] { world_.sources().set_degraded("default", source, ""); });
    } else {
      add_file();
    }
  }
  void add_commit() {
    const std::string id = Sha256::hex_of("commit " + std::to_string(++commit_count_)).substr(0, 40);
    expectation_.commit(id);
    world_.sources().add_commit(
        "default", "code", id,
        {{"recipe.yaml", replaced(kRecipeFile, "%EPOCHS%", std::to_string(commit_count_))}, {"README", id}});
  }

  // ---- the end ----
  void rest() {
    resting_ = true;
    faults_.heal();
    world_.sources().set_degraded("default", "drops", "");
    world_.sources().set_degraded("default", "code", "");
    // As they were at the start, but the clock alone makes no more runs, and few versions keep their models: what is
    // replayed once these are gone has to begin with what it was made from.
    std::string documents = replaced(documents_, "\"*/13 * * * *\"", "\"0 0 29 2 *\"");
    documents = replaced(documents, "\"keep_last\": 2, \"keep_best\": 1", "\"keep_last\": 1, \"keep_best\": 0");
    clients_.apply(documents);
    clients_.replay_later("demand", kCollectedAfter);
    const bool rests = world_.run_until([this] { return is_broken() || is_at_rest(); }, kRest);
    if (is_broken()) return;
    if (!rests) return checker_.fail("I13: " + what_goes_on());
    checker_.check_all();
    if (!is_broken()) {
      const std::string wrong = expectation_.check(checker_);
      if (!wrong.empty()) checker_.fail(wrong);
    }
  }
  bool is_at_rest() {
    bool busy = checker_.active() > 0 || clients_.open() > 0 || !faults_.all_is_up();
    for (const auto& [node, agent] : world_.agents()) busy = busy || agent->gangs() > 0;
    if (busy || checker_.batches() != batches_) {
      batches_ = checker_.batches();
      quiet_since_ = world_.clock().monotonic();
    }
    return world_.clock().monotonic() - quiet_since_ > kQuiet;
  }
  std::string what_goes_on() const {
    std::string text = std::to_string(checker_.active()) + " runs, attempts and inspections are active, " +
                       std::to_string(clients_.open()) + " requests are open";
    for (const auto& [node, agent] : world_.agents()) {
      text += ", " + node + " has " + std::to_string(agent->gangs()) + " gangs" +
              (agent->session() == 0 ? " and no connection" : "");
    }
    for (const auto& [key, run] : checker_.runs()) {
      if (!scheduler::is_final(run.state())) text += "; " + run.ShortDebugString().substr(0, 200);
    }
    return text;
  }

  LifeResult result() {
    LifeResult result;
    result.failure = checker_.broken();
    result.fingerprint = world_.fingerprint() ^ checker_.fingerprint();
    result.events = world_.events();
    result.runs = checker_.runs().size();
    result.simulated = world_.clock().monotonic() - Time{};
    result.counts = faults_.counts();
    for (const auto& [kind, count] : result.counts) result.faults += count;
    result.counts["interleaved calls"] = world_.interleaved();
    result.counts["artifacts collected"] = checker_.collected();
    result.points_reached = faults_.points_reached();
    result.points_crashed = faults_.points_crashed();
    result.log = world_.log();
    return result;
  }

  SimWorld world_;
  Checker checker_;
  Expectation expectation_;
  Faults faults_;
  Clients clients_;
  std::string documents_;
  std::map<std::string, GangFate::Kind> fates_;
  std::map<std::string, ObservedFile> files_;
  uint64_t file_count_ = 0, commit_count_ = 0;
  bool resting_ = false;
  uint64_t batches_ = 0;
  Time quiet_since_;
};

}  // namespace

LifeResult live(uint64_t seed, bool trace) { return Life(seed, trace).live(); }

}  // namespace freshet::sim
