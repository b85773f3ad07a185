// What garbage collection takes and leaves, and every race that it could lose: each is staged by a crash point, at
// which the other party acts or the round dies.
#include <gtest/gtest.h>

#include "base/crash_point.h"
#include "daemon/control/artifact_service.h"
#include "daemon/control/artifact_use.h"
#include "daemon/control/gc_reconciler.h"
#include "daemon/control/gc_service.h"
#include "daemon/control/run_index.h"
#include "tests/unit/control/manual_plane.h"

namespace freshet::control::test {
namespace {

constexpr Duration kDay = Duration::seconds(86'400);
struct Killed {};

class Gc : public testing::Test {
 protected:
  Gc() { apply(1); }
  ~Gc() override { set_crash_point_handler({}); }

  // A pipeline that keeps so many of its newest versions, and nothing else that no alias points to.
  void apply(uint32_t keep_last) {
    v1::PipelineRecord pipeline;
    pipeline.mutable_pipeline()->mutable_metadata()->set_project("default");
    v1::Retention* retention = pipeline.mutable_pipeline()->mutable_spec()->mutable_retention();
    retention->set_keep_last(keep_last);
    retention->set_keep_best(0);
    retention->set_keep_promoted_days(0);
    Change change;
    change.actor = change.action = change.reason = "test";
    put(change, keys::pipeline("default", "p"), pipeline);
    take(plane_.store.commit(std::move(change)));
  }

  static std::string manifest_of(const std::string& content) {
    return R"({"files":[{"name":"model.bin","sha256":")" + Sha256::hex_of(content) + R"(","size":")" +
           std::to_string(content.size()) + R"("}],"type":"model"})";
  }
  // As an agent does it; returns the digest.
  Result<std::string> try_upload(const std::string& content) {
    const std::string manifest = manifest_of(content);
    ASSIGN_OR_RETURN(auto writer, uploads_.begin_file(Sha256::hex_of(content), content.size()));
    if (writer != nullptr) {
      RETURN_IF_ERROR(writer->append(content));
      RETURN_IF_ERROR(writer->finish());
    }
    RETURN_IF_ERROR(uploads_.seal("agent", Sha256::hex_of(manifest), manifest).status());
    return Sha256::hex_of(manifest);
  }
  std::string upload(const std::string& content) { return take(try_upload(content)); }

  // Registers the model's next version with its artifact, as a promotion does.
  std::string add_version(uint64_t number, const std::string& warm_start = "") {
    const std::string digest = upload("weights " + std::to_string(number));
    v1::Model model;
    model.set_project("default");
    model.set_name("m");
    model.set_latest_version(number);
    v1::ModelVersion version;
    version.set_project("default");
    version.set_model("m");
    version.set_version(number);
    version.set_pipeline("p");
    version.set_artifact_digest(digest);
    version.set_warm_start_version(warm_start);
    version.mutable_verdict()->set_passed(true);
    take_ok(plane_.artifacts.pin(digest, "model m/" + std::to_string(number)));
    auto snapshot = plane_.store.snapshot();
    Change change;
    change.actor = change.action = change.reason = "test";
    take_ok(use_artifact(*snapshot, digest, "version m/" + std::to_string(number), &change));
    put(change, keys::model("default", "m"), model);
    create(change, keys::model_version("default", "m", number), version);
    take(plane_.store.commit(std::move(change)));
    return digest;
  }
  static void take_ok(const Status& status) { CHECK_MSG(status.is_ok(), status.to_string()); }
  Status promote(uint64_t version) {
    v1::PromoteRequest request;
    request.set_version(version);
    request.set_reason("a test");
    return plane_.models.promote({.name = "ops"}, "default", "m", request).status();
  }
  bool is_here(const std::string& digest) {
    return take(usable_artifact(*plane_.store.snapshot(), digest)).has_value() && plane_.artifacts.exists(digest) &&
           plane_.artifacts.read(digest, "model.bin").is_ok();
  }
  std::string reason(const std::string& digest) {
    const v1::GcResponse plan = take(gc_.plan(true));
    for (const auto& item : plan.items()) {
      if (item.digest() == digest) return (item.goes() ? "goes: " : "stays: ") + item.reason();
    }
    return "unknown";
  }
  v1::ArtifactRecord::State state(const std::string& digest) {
    return take(require<v1::ArtifactRecord>(*plane_.store.snapshot(), keys::artifact(digest), digest)).value.state();
  }
  v1::GcResponse collect() { return take(gc_.run({.name = "ops"}, {})); }
  // `action` happens when the round comes to the point.
  static void at(const std::string& point, std::function<void()> action) {
    set_crash_point_handler([point, action, done = false](std::string_view name) mutable {
      if (done || name != point) return;
      done = true;
      action();
    });
  }

  ManualPlane plane_;
  ArtifactService uploads_{plane_.context};
  GcService gc_{plane_.context, {Duration::seconds(3600), kDay}};
};

TEST_F(Gc, TakesWhatNoRuleKeepsAndSaysWhy) {
  const std::string first = add_version(1);
  const std::string second = add_version(2);
  const std::string third = add_version(3);
  const std::string loose = upload("of a run that failed");
  take_ok(promote(2));
  EXPECT_TRUE(reason(first).starts_with("stays: used at 2026-01-01T00:00:00.000Z by version m/1, within the grace"));
  plane_.clock.advance(kDay + Duration::seconds(1));  // of two commits at once the second counts as a little later
  EXPECT_EQ(reason(first),
            "goes: m/1: not one of the newest 1, nor of the best 0 by loss; no alias pointed to it within 0 days");
  EXPECT_EQ(reason(second), "stays: m/2: alias champion points to it");
  EXPECT_EQ(reason(third), "stays: m/3: one of the newest 1");
  EXPECT_TRUE(reason(loose).starts_with("goes: no version and no live run has it; last used at 2026-01-01T00:00:00"));
  auto plan = take(gc_.plan(false));
  EXPECT_EQ(plan.items_size(), 2);
  EXPECT_EQ(plan.going_bytes(), std::string("weights 1of a run that failed").size());
  EXPECT_TRUE(is_here(first)) << "a plan takes nothing";

  auto done = collect();
  EXPECT_EQ(done.going(), 2u);
  EXPECT_EQ(done.stray_files(), 4u) << "their files and manifests";
  for (const auto& digest : {first, loose}) EXPECT_FALSE(plane_.artifacts.exists(digest));
  for (const auto& digest : {second, third}) EXPECT_TRUE(is_here(digest));
  EXPECT_FALSE(plane_.artifacts.has_file(Sha256::hex_of("weights 1")));
  EXPECT_EQ(collect().going(), 0u);

  auto version = take(plane_.models.get_version("default", "m", 1));
  EXPECT_EQ(version.artifact_digest(), first) << "the record stays";
  EXPECT_EQ(version.artifact_collected_us(), plane_.clock.now().us);
  EXPECT_TRUE(version.artifact_collected_reason().starts_with("m/1: not one of the newest 1"));
  Status refused = promote(1);
  EXPECT_EQ(refused.code(), Code::kConflict);
  EXPECT_TRUE(refused.message().starts_with("version m/1 can't be promoted: artifact " + first +
                                            " was collected at 2026-01-02T00:00:01.000Z: m/1: not one"))
      << refused.message();
  EXPECT_EQ(uploads_.manifest(first).status().code(), Code::kNotFound);
  EXPECT_EQ(take(get<v1::Counter>(*plane_.store.snapshot(), keys::counter("gc_artifacts")))->value.value(), 2u);
}

TEST_F(Gc, KeepsWhatKeptVersionsStartedFromAndWhereARollbackGoes) {
  const std::string parent = add_version(1);
  const std::string grandparent_of_nothing = add_version(2);
  add_version(3, "m/1");
  plane_.clock.advance(kDay + kDay);
  EXPECT_EQ(reason(parent), "stays: initial weights of m/3");
  EXPECT_TRUE(reason(grandparent_of_nothing).starts_with("goes: "));
  take_ok(promote(2));
  take_ok(promote(3));
  EXPECT_EQ(reason(grandparent_of_nothing), "stays: m/2: a rollback of alias champion would go to it");
}

TEST_F(Gc, KeepsWhatRunsThatHaveNotEndedNeedAndWhatOthersPin) {
  const std::string made = upload("the output of a live run");
  const std::string started_from = upload("where it started");
  const std::string needed = upload("what its gang reads");
  const std::string backed_up = upload("in a backup");
  take_ok(plane_.artifacts.pin(backed_up, "backup 2026"));
  v1::Run run;
  run.set_project("default");
  run.set_id("r1");
  run.set_pipeline("p");
  run.set_state(v1::Run::RUNNING);
  run.set_warm_start_model(started_from);
  v1::Attempt attempt;
  attempt.mutable_work()->set_project("default");
  attempt.mutable_work()->set_run_id("r1");
  attempt.mutable_work()->set_step("train");
  attempt.set_epoch(1);
  attempt.set_gang_id("g1");
  attempt.add_outputs()->set_digest(made);
  v1::AttemptSpec spec;
  spec.mutable_evaluate()->mutable_champion()->set_digest(needed);
  const std::string key = keys::attempt(attempt.work(), 1);
  Change change;
  change.actor = change.action = change.reason = "test";
  create_run(run, &change);
  put(change, key, attempt);
  put(change, keys::attempt_spec(attempt.work(), 1), spec);
  put_reference(change, keys::active_attempt(attempt.work(), 1), key);
  take(plane_.store.commit(std::move(change)));
  plane_.clock.advance(kDay + kDay);
  EXPECT_EQ(reason(made), "stays: run r1 has not ended");
  EXPECT_EQ(reason(started_from), "stays: run r1 has not ended");
  EXPECT_EQ(reason(needed), "stays: gang g1 has not ended");
  EXPECT_EQ(reason(backed_up), "stays: pinned by backup 2026");
  EXPECT_EQ(collect().going(), 0u);
  Change over;
  over.actor = over.action = over.reason = "test";
  auto ended = take(require<v1::Run>(*plane_.store.snapshot(), keys::run("default", "r1"), "run r1"));
  ended.value.set_state(v1::Run::SUCCEEDED);
  update_run(run, ended, &over);
  erase(over, keys::active_attempt(attempt.work(), 1));
  take(plane_.store.commit(std::move(over)));
  EXPECT_EQ(collect().going(), 3u);
}

TEST_F(Gc, ProjectsWithoutAPipelineAreLookedAtToo) {
  const std::string weights = upload("of a version");
  const std::string started_from = upload("where a run started");
  v1::Model model;
  model.set_project("other");
  model.set_name("o");
  v1::ModelVersion version;
  version.set_project("other");
  version.set_model("o");
  version.set_version(1);
  version.set_pipeline("unknown");
  version.set_artifact_digest(weights);
  v1::Run run;
  run.set_project("third");
  run.set_id("r3");
  run.set_state(v1::Run::QUEUED);
  run.set_warm_start_model(started_from);
  Change change;
  change.actor = change.action = change.reason = "test";
  create(change, keys::model("other", "o"), model);
  create(change, keys::model_version("other", "o", 1), version);
  create_run(run, &change);
  take(plane_.store.commit(std::move(change)));
  plane_.clock.advance(kDay + kDay);
  EXPECT_EQ(reason(weights), "stays: o/1: one of the newest 10") << "the default";
  EXPECT_EQ(reason(started_from), "stays: run r3 has not ended");
}

TEST_F(Gc, ACallEndsInTimeAndTheNextOneGoesOn) {
  for (int i = 0; i < 20; ++i) upload("loose " + std::to_string(i));
  plane_.clock.advance(kDay + kDay);
  at("gc.removal.before_commit", [&] { plane_.clock.advance(Duration::seconds(25)); });
  const v1::GcResponse first = collect();
  EXPECT_TRUE(first.unfinished());
  EXPECT_GT(first.going(), 0u);
  EXPECT_FALSE(take(get<v1::GcRoundRecord>(*plane_.store.snapshot(), keys::gc_round()))) << "it did not end";
  upload("new");
  const v1::GcResponse second = collect();
  EXPECT_FALSE(second.unfinished());
  EXPECT_EQ(first.going() + second.going(), 20u);
  auto round = take(get<v1::GcRoundRecord>(*plane_.store.snapshot(), keys::gc_round()));
  ASSERT_TRUE(round);
  EXPECT_EQ(round->value.ended_us(), plane_.clock.now().us);
  EXPECT_EQ(round->value.artifacts(), 1u);
  EXPECT_EQ(round->value.bytes(), 3u);
}

TEST_F(Gc, APromotionBeforeTheMarkWins) {
  const std::string old = add_version(1);
  add_version(2);
  plane_.clock.advance(kDay + kDay);
  at("gc.mark.before_commit", [&] { take_ok(promote(1)); });
  EXPECT_EQ(collect().going(), 0u);
  EXPECT_TRUE(is_here(old));
}

TEST_F(Gc, AUseDuringTheScanWins) {
  const std::string old = add_version(1);
  const std::string loose = upload("loose");
  add_version(2);
  plane_.clock.advance(kDay + kDay);
  GcRound round(plane_.context, {kDay, kDay}, "ops", "");
  for (int step = 0; step < 3; ++step) EXPECT_FALSE(take(round.step(plane_.clock.now())));
  take_ok(promote(1));
  while (!take(round.step(plane_.clock.now()))) continue;
  EXPECT_TRUE(is_here(old));
  EXPECT_FALSE(is_here(loose));
}

TEST_F(Gc, APromotionBetweenMarkAndRemovalWins) {
  const std::string old = add_version(1);
  add_version(2);
  plane_.clock.advance(kDay + kDay);
  at("gc.mark.after_commit", [&] { take_ok(promote(1)); });
  EXPECT_EQ(collect().going(), 0u);
  EXPECT_TRUE(is_here(old));
  EXPECT_EQ(take(plane_.models.get_version("default", "m", 1)).artifact_collected_us(), 0);
  EXPECT_EQ(take(plane_.models.get_alias("default", "m", "champion", "")).version().version(), 1u);
}

TEST_F(Gc, APromotionOfWhatACrashLeftMarkedWins) {
  const std::string old = add_version(1);
  add_version(2);
  plane_.clock.advance(kDay + kDay);
  at("gc.removal.before_commit", [] { throw Killed(); });
  EXPECT_THROW(collect(), Killed);
  EXPECT_EQ(state(old), v1::ArtifactRecord::MARKED);
  EXPECT_TRUE(reason(old).starts_with("goes: m/1")) << "a mark is no use";
  take_ok(promote(1));
  EXPECT_EQ(state(old), v1::ArtifactRecord::PRESENT);
  EXPECT_EQ(collect().going(), 0u);
  EXPECT_TRUE(is_here(old));
}

TEST_F(Gc, APromotionOfWhatIsBeingRemovedIsRefused) {
  const std::string old = add_version(1);
  add_version(2);
  plane_.clock.advance(kDay + kDay);
  Status refused;
  at("gc.removal.after_commit", [&] { refused = promote(1); });
  EXPECT_EQ(collect().going(), 1u);
  EXPECT_EQ(refused.code(), Code::kConflict);
  EXPECT_NE(refused.message().find("was collected at"), std::string::npos) << refused.message();
  EXPECT_EQ(plane_.models.get_alias("default", "m", "champion", "").status().code(), Code::kNotFound);
}

TEST_F(Gc, AnUploadOfTheSameBytesIsNeverLost) {
  const std::string content = "the same again";
  for (const char* point : {"gc.mark.before_commit", "gc.mark.after_commit", "gc.removal.before_commit",
                            "gc.removal.after_commit", "gc.finish.before_commit", "gc.finish.after_commit"}) {
    SCOPED_TRACE(point);
    const std::string digest = upload(content);
    plane_.clock.advance(kDay + kDay);
    Result<std::string> during = unavailable("not tried");
    at(point, [&] { during = try_upload(content); });
    collect();
    set_crash_point_handler({});
    if (!during.is_ok()) {
      EXPECT_EQ(during.status().code(), Code::kUnavailable) << "the agent sends it again";
      during = try_upload(content);
    }
    ASSERT_TRUE(during.is_ok()) << during.status().to_string();
    // What was acknowledged is here, or was known to be old before.
    if (std::string(point) != "gc.mark.before_commit") {
      EXPECT_TRUE(is_here(digest));
    }
    collect();
  }
}

TEST_F(Gc, AnUploadBetweenItsFileAndItsSealKeepsTheFile) {
  const std::string content = "shared by two";
  upload(content);
  plane_.clock.advance(kDay + kDay);
  // Another artifact with the same file begins: the file is here, so it is not sent again.
  EXPECT_EQ(take(uploads_.begin_file(Sha256::hex_of(content), content.size())), nullptr);
  EXPECT_EQ(collect().going(), 1u);
  EXPECT_TRUE(plane_.artifacts.has_file(Sha256::hex_of(content)));
  std::string manifest = manifest_of(content);
  manifest.replace(manifest.find("model.bin"), 9, "other.bin");
  take(uploads_.seal("agent", Sha256::hex_of(manifest), manifest));
  plane_.clock.advance(kDay + kDay);
}

TEST_F(Gc, APinBetweenMarkAndRemovalWins) {
  const std::string digest = upload("wanted by a backup");
  plane_.clock.advance(kDay + kDay);
  at("gc.mark.after_commit", [&] { take_ok(plane_.artifacts.pin(digest, "backup 7")); });
  EXPECT_EQ(collect().going(), 0u);
  EXPECT_EQ(state(digest), v1::ArtifactRecord::PRESENT);
  EXPECT_TRUE(is_here(digest));
  take_ok(plane_.artifacts.unpin(digest, "backup 7"));
  plane_.clock.advance(kDay + kDay);
  EXPECT_EQ(collect().going(), 1u);
}

TEST_F(Gc, APinDuringTheRemovalHoldsTheBytesUntilItGoes) {
  const std::string digest = upload("wanted by a backup");
  plane_.clock.advance(kDay + kDay);
  at("gc.removal.after_commit", [&] { take_ok(plane_.artifacts.pin(digest, "backup 7")); });
  EXPECT_EQ(collect().going(), 0u);
  EXPECT_TRUE(plane_.artifacts.exists(digest));
  take_ok(plane_.artifacts.unpin(digest, "backup 7"));
  EXPECT_EQ(collect().going(), 1u) << "the next round finishes";
}

TEST_F(Gc, APolicyThatKeepsWhatACrashLeftMarkedTakesTheMarkBack) {
  const std::string old = add_version(1);
  add_version(2);
  plane_.clock.advance(kDay + kDay);
  at("gc.removal.before_commit", [] { throw Killed(); });
  EXPECT_THROW(collect(), Killed);
  apply(2);
  EXPECT_EQ(reason(old), "stays: m/1: one of the newest 2");
  EXPECT_EQ(collect().going(), 0u);
  EXPECT_EQ(state(old), v1::ArtifactRecord::PRESENT);
}

TEST_F(Gc, AChangedPolicyStopsTheRound) {
  const std::string old = add_version(1);
  add_version(2);
  plane_.clock.advance(kDay + kDay);
  for (const char* point : {"gc.mark.before_commit", "gc.mark.after_commit"}) {
    SCOPED_TRACE(point);
    apply(1);
    at(point, [&] { apply(2); });
    EXPECT_EQ(collect().going(), 0u);
    EXPECT_TRUE(is_here(old));
  }
}

TEST_F(Gc, ARoundThatDiesAnywhereIsFinishedByTheNext) {
  for (const char* point : {"gc.mark.before_commit", "gc.mark.after_commit", "gc.removal.before_commit",
                            "gc.removal.after_commit", "gc.finish.before_commit", "gc.finish.after_commit"}) {
    SCOPED_TRACE(point);
    const std::string digest = upload(std::string("at ") + point);
    plane_.clock.advance(kDay + kDay);
    at(point, [] { throw Killed(); });
    EXPECT_THROW(collect(), Killed);
    // Whole, or said to be going.
    auto record = take(get<v1::ArtifactRecord>(*plane_.store.snapshot(), keys::artifact(digest)));
    if (record && record->value.state() == v1::ArtifactRecord::PRESENT) {
      EXPECT_TRUE(is_here(digest));
    }
    EXPECT_LE(collect().going(), 1u);
    EXPECT_FALSE(plane_.artifacts.exists(digest));
    EXPECT_FALSE(plane_.artifacts.has_file(Sha256::hex_of(std::string("at ") + point)));
    auto collected = take(get<v1::ArtifactRecord>(*plane_.store.snapshot(), keys::collected_artifact(digest)));
    ASSERT_TRUE(collected);
    EXPECT_EQ(collected->value.state(), v1::ArtifactRecord::COLLECTED);
  }
}

TEST_F(Gc, ASealWithoutARecordIsUploadedAgainOrCollected) {
  const std::string content = "sealed, then the daemon died";
  take_ok(put_bytes(plane_.artifacts, content));
  const std::string manifest = manifest_of(content);
  const std::string digest = Sha256::hex_of(manifest);
  take(plane_.artifacts.seal(digest, manifest));
  EXPECT_EQ(uploads_.manifest(digest).status().code(), Code::kNotFound) << "else the agent would not send it again";
  EXPECT_EQ(collect().going(), 0u);
  plane_.clock.advance(kDay + kDay);
  EXPECT_EQ(collect().going(), 1u);
  EXPECT_FALSE(plane_.artifacts.exists(digest));
  EXPECT_EQ(upload(content), digest);
  EXPECT_TRUE(is_here(digest));
}

TEST_F(Gc, AnUploadThatGoesOnAfterADayWins) {
  const std::string content = "sealed, and its agent was away for long";
  take_ok(put_bytes(plane_.artifacts, content));
  const std::string manifest = manifest_of(content);
  take(plane_.artifacts.seal(Sha256::hex_of(manifest), manifest));
  plane_.clock.advance(kDay + kDay);
  at("gc.unrecorded.after_commit", [&] { upload(content); });
  EXPECT_EQ(collect().going(), 0u);
  EXPECT_TRUE(is_here(Sha256::hex_of(manifest)));
}

TEST_F(Gc, TheLoopWorksInStepsAndWaitsForTheNextHour) {
  const std::string old = upload("of long ago");
  add_version(1);
  plane_.clock.advance(kDay + kDay);
  GcReconciler loop(plane_.context, {Duration::seconds(3600), kDay});
  EXPECT_EQ(loop.reconcile(plane_.clock.now()), plane_.clock.now() + Duration::seconds(60)) << "not at the very start";
  plane_.clock.advance(Duration::seconds(60));
  int steps = 1;
  while (loop.reconcile(plane_.clock.now()) == plane_.clock.now()) ++steps;
  EXPECT_GT(steps, 16);
  EXPECT_FALSE(plane_.artifacts.exists(old));
  EXPECT_EQ(loop.reconcile(plane_.clock.now()), plane_.clock.now() + Duration::seconds(3600));
  add_version(2);
  EXPECT_EQ(loop.reconcile(plane_.clock.now()), plane_.clock.now() + Duration::seconds(60)) << "a new version";
}

}  // namespace
}  // namespace freshet::control::test
