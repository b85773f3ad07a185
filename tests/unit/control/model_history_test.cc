// The registry at times in the past, and that every change says who made it and why.
#include "daemon/control/model_history.h"

#include <gtest/gtest.h>

#include "tests/unit/control/manual_plane.h"

namespace freshet::control::test {
namespace {

constexpr int64_t kHour = 3'600'000'000;

class History : public testing::Test {
 protected:
  // Registers the model's next version.
  void add_version(uint64_t number) {
    v1::Model model;
    model.set_project("default");
    model.set_name("demand");
    model.set_latest_version(number);
    v1::ModelVersion version;
    version.set_project("default");
    version.set_model("demand");
    version.set_version(number);
    version.set_artifact_digest(Sha256::hex_of("model " + std::to_string(number)));
    version.mutable_verdict()->set_passed(true);
    v1::ArtifactRecord artifact;
    artifact.set_digest(version.artifact_digest());
    Change change;
    create(change, keys::artifact(artifact.digest()), artifact);
    change.actor = "test";
    change.action = "register demand/" + std::to_string(number);
    change.reason = "a test";
    put(change, keys::model("default", "demand"), model);
    create(change, keys::model_version("default", "demand", number), version);
    take(plane_.store.commit(std::move(change)));
  }
  // Returns the time of the commit.
  Time promote(uint64_t version, const std::string& reason, const std::string& alias = "champion") {
    v1::PromoteRequest request;
    request.set_version(version);
    request.set_alias(alias);
    request.set_reason(reason);
    take(plane_.models.promote({"ops"}, "default", "demand", request));
    return Time{take(plane_.models.list_moves("default", "demand", alias, {})).moves(0).committed_us()};
  }
  uint64_t champion_at(const std::string& at) {
    auto answer = plane_.models.get_alias("default", "demand", "champion", at);
    return answer.is_ok() ? answer->move().alias().version() : 0;
  }

  ManualPlane plane_;
};

TEST_F(History, AnAliasAtATimeIsTheMoveInForce) {
  add_version(1);
  plane_.clock.advance(Duration{kHour});
  promote(1, "first");  // 01:00
  plane_.clock.advance(Duration{kHour});
  add_version(2);
  promote(2, "better");  // 02:00
  plane_.clock.advance(Duration{kHour});

  EXPECT_EQ(champion_at("2026-01-01T00:59:59"), 0u);
  EXPECT_EQ(champion_at("2026-01-01T01:00:01"), 1u);
  EXPECT_EQ(champion_at("2026-01-01T03:00+01:00"), 1u) << "a microsecond before the second move";
  EXPECT_EQ(champion_at("2026-01-01T02:00:01"), 2u);
  EXPECT_EQ(champion_at("90m ago"), 1u);
  EXPECT_EQ(champion_at(""), 2u);

  auto first = take(plane_.models.get_alias("default", "demand", "champion", "90m ago"));
  EXPECT_EQ(first.move().alias().actor(), "ops");
  EXPECT_EQ(first.move().alias().reason(), "first");
  EXPECT_EQ(first.move().alias().previous_version(), 0u);
  EXPECT_EQ(first.next().alias().version(), 2u);
  EXPECT_EQ(first.version().version(), 1u);
  EXPECT_EQ(to_iso8601(Time{first.at_us()}), "2026-01-01T01:30:00.000Z");
  auto now = take(plane_.models.get_alias("default", "demand", "champion", ""));
  EXPECT_EQ(now.move().alias().previous_version(), 1u);
  EXPECT_FALSE(now.has_next());

  EXPECT_EQ(plane_.models.get_alias("default", "demand", "champion", "2026-01-01").status().message(),
            "model demand had no alias champion at 2026-01-01T00:00:00.000Z");
  EXPECT_EQ(plane_.models.get_alias("default", "demand", "champion", "2026-01-01T04:00").status().message(),
            "'2026-01-01T04:00' lies in the future; it is 2026-01-01T03:00:00.000Z now (UTC)");
  EXPECT_EQ(plane_.models.get_alias("default", "demand", "champion", "noon").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(plane_.models.get_alias("default", "prices", "champion", "").status().code(), Code::kNotFound);
}

TEST_F(History, AClockThatGoesBackChangesNoAnswer) {
  add_version(1);
  add_version(2);
  const Time first = promote(1, "first");
  plane_.clock.set(plane_.clock.now() - Duration{24 * kHour});
  const Time second = promote(2, "while the clock was wrong");
  EXPECT_GT(second, first);
  const Time third = promote(1, "back again");
  EXPECT_GT(third, second);
  auto at = [&](Time time) { return take(alias_at(*plane_.store.snapshot(), "default", "demand", "champion", time)); };
  EXPECT_FALSE(at(first - Duration::micros(1)));
  EXPECT_EQ(at(first)->move.alias().reason(), "first");
  EXPECT_EQ(at(second)->move.alias().reason(), "while the clock was wrong");
  EXPECT_EQ(at(third)->move.alias().reason(), "back again");
  EXPECT_FALSE(at(third)->next);
  EXPECT_EQ(champion_at("2026-01-01T00:00:00.000003"), 2u) << "a time that the clock has not reached again";
}

TEST_F(History, VersionsAndModelsAreThoseThatExisted) {
  add_version(1);
  plane_.clock.advance(Duration{kHour});
  add_version(2);
  promote(1, "x", "staging");
  plane_.clock.advance(Duration{kHour});
  add_version(3);
  promote(3, "y");
  plane_.clock.advance(Duration{kHour});
  auto then = take(plane_.models.list_versions("default", "demand", "2026-01-01T01:30", {}));
  ASSERT_EQ(then.versions_size(), 2);
  EXPECT_EQ(then.versions(0).version(), 2u);
  ASSERT_EQ(then.aliases_size(), 1);
  EXPECT_EQ(then.aliases(0).alias(), "staging");
  PageRequest page;
  page.size = 1;
  auto newest = take(plane_.models.list_versions("default", "demand", "2026-01-01T01:30", page));
  page.token = newest.next_page_token();
  EXPECT_EQ(take(plane_.models.list_versions("default", "demand", "2026-01-01T01:30", page)).versions(0).version(), 1u);
  EXPECT_EQ(take(plane_.models.list_models("default", "2026-01-01T01:30", {})).models(0).model().latest_version(), 2u);
  EXPECT_EQ(take(plane_.models.list_models("default", "", {})).models(0).aliases_size(), 2);
  EXPECT_EQ(take(plane_.models.list_models("default", "2025-12-31", {})).models_size(), 0);
}

TEST_F(History, MovesComeNewestFirstInPages) {
  add_version(1);
  add_version(2);
  promote(1, "a");
  promote(1, "b", "staging");
  promote(2, "c");
  promote(2, "d", "live");
  PageRequest page;
  page.size = 3;
  std::string reasons;
  for (;;) {
    auto moves = take(plane_.models.list_moves("default", "demand", "", page));
    for (const auto& move : moves.moves()) reasons += move.alias().reason();
    page.token = moves.next_page_token();
    if (page.token.empty()) break;
  }
  EXPECT_EQ(reasons, "dcba");
  EXPECT_EQ(take(plane_.models.list_moves("default", "demand", "champion", {})).moves_size(), 2);
}

TEST_F(History, WhatIsAppliedSaysWhoAndWhy) {
  v1::ApplyRequest request;
  auto* source = request.add_sources();
  source->mutable_metadata()->set_name("drops");
  source->mutable_spec()->mutable_directory()->set_uri("file:///drops");
  auto* trigger = request.add_triggers();
  trigger->mutable_metadata()->set_name("nightly");
  trigger->mutable_spec()->set_pipeline("demand");
  trigger->mutable_spec()->mutable_cron()->set_schedule("0 3 * * *");
  auto* pipeline = request.add_pipelines();
  pipeline->mutable_metadata()->set_name("demand");
  auto* input = pipeline->mutable_spec()->add_inputs();
  input->set_name("sales");
  input->set_source("drops");
  input->set_holdout_newest_entries(1);
  pipeline->mutable_spec()->mutable_recipe_from()->set_source("drops");
  pipeline->mutable_spec()->mutable_recipe_from()->set_path("recipe.yaml");
  request.set_reason("the new season");
  take(plane_.pipelines.apply({"ops"}, request, false));

  auto record = take(plane_.pipelines.get_pipeline("default", "demand"));
  EXPECT_EQ(record.actor(), "ops");
  EXPECT_EQ(record.reason(), "the new season");
  take(plane_.pipelines.set_paused({"admin"}, "default", "nightly", true, "the source moves"));
  auto paused = take(require<v1::TriggerRecord>(*plane_.store.snapshot(), keys::trigger("default", "nightly"), ""));
  EXPECT_EQ(paused.value.actor(), "admin");
  EXPECT_EQ(paused.value.reason(), "the source moves");
  take(plane_.pipelines.set_paused({"admin"}, "default", "nightly", false, ""));

  auto audits = take(list<v1::AuditRecord>(*plane_.store.snapshot(), keys::audits()));
  ASSERT_EQ(audits.size(), 3u);
  EXPECT_EQ(audits[0].value.reason(),
            "the new season (Pipeline demand created, Source drops created, Trigger nightly created)");
  EXPECT_EQ(audits[1].value.reason(), "the source moves");
  EXPECT_EQ(audits[2].value.reason(), "resumed by admin");
}

}  // namespace
}  // namespace freshet::control::test
