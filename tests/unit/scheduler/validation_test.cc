#include "scheduler/validation.h"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/unit/scheduler/text_proto.h"

namespace freshet::scheduler {
namespace {

constexpr const char* kStep = R"(
  tabular {
    features { column: 'distance' kind: NUMERIC }
    features { column: 'origin' kind: CATEGORICAL }
    features { column: 'date' kind: NUMERIC derive: HOUR_OF_DAY }
    label { column: 'delay' task: BINARY positive_above: 15 }
  })";

// A sound day: 1000 rows, a fifth of them late.
constexpr const char* kDay = R"(
  rows: 1000
  columns { name: 'distance' type: 'int64' min: 100 max: 2100 }
  columns { name: 'origin' type: 'string' }
  columns { name: 'date' type: 'timestamp[ms]' min: 1 max: 2 }
  columns { name: 'delay' type: 'int64' min: -20 max: 180 }
  label { mean: 0.2 }
  champion_metrics { name: 'auc' value: 0.6 } champion_metrics { name: 'log_loss' value: 0.5 }
  champion_version: 'flights/1')";

v1::EntryProfile day() { return parse<v1::EntryProfile>(kDay); }

v1::ColumnProfile* column(v1::EntryProfile* profile, const std::string& name) {
  for (auto& c : *profile->mutable_columns()) {
    if (c.name() == name) return &c;
  }
  return nullptr;
}

// Two accepted days that bound the third.
std::vector<v1::EntryProfile> accepted() {
  auto other = day();
  other.set_rows(3000);
  other.mutable_label()->set_mean(0.24);
  column(&other, "distance")->set_min(50);
  column(&other, "distance")->set_max(2050);
  other.mutable_champion_metrics(0)->set_value(0.551);
  return {day(), other};
}

struct Row {
  const char* name;
  const char* validation;
  void (*change)(v1::EntryProfile*);
  const char* reason;
};

class Validation : public testing::TestWithParam<Row> {};

TEST_P(Validation, JudgesTheEntry) {
  auto profile = day();
  GetParam().change(&profile);
  auto judgement =
      judge_entry(parse<v1::Validation>(GetParam().validation), parse<v1::TrainStep>(kStep), profile, accepted());
  EXPECT_EQ(judgement.reason, GetParam().reason);
  EXPECT_EQ(judgement.accepted, judgement.reason.empty());
}

constexpr const char* kStrict =
    "min_rows: 500 max_missing_share: 0.05 max_label_mean_change: 0.1 max_range_excess: 0.5 "
    "champion { metric: 'auc' min: 0.53 }";

INSTANTIATE_TEST_SUITE_P(
    Table, Validation,
    testing::Values(
        Row{"Sound", kStrict, [](v1::EntryProfile*) {}, ""}, Row{"SoundWithDefaults", "", [](v1::EntryProfile*) {}, ""},
        Row{"Unreadable", "", [](v1::EntryProfile* p) { *p = parse<v1::EntryProfile>("error: 'not a Parquet file'"); },
            "the file can't be read: not a Parquet file"},
        Row{"Empty", "", [](v1::EntryProfile* p) { p->set_rows(0); }, "the file has 0 rows; at least 1 is needed"},
        Row{"TooFewRows", kStrict, [](v1::EntryProfile* p) { p->set_rows(499); },
            "the file has 499 rows; at least 500 are needed"},
        Row{"OneRowOfMany", "min_rows: 2", [](v1::EntryProfile* p) { p->set_rows(1); },
            "the file has 1 row; at least 2 are needed"},
        Row{"MissingFeature", kStrict, [](v1::EntryProfile* p) { p->mutable_columns()->DeleteSubrange(1, 1); },
            "column \"origin\" is not in the file"},
        Row{"MissingLabel", kStrict,
            [](v1::EntryProfile* p) {
              p->mutable_columns()->RemoveLast();
              p->clear_label();
            },
            "label \"delay\" is not in the file"},
        Row{"TypeChanged", kStrict, [](v1::EntryProfile* p) { column(p, "distance")->set_type("string"); },
            "column \"distance\" has type string; accepted entries have int64"},
        Row{"LabelTypeChanged", kStrict, [](v1::EntryProfile* p) { column(p, "delay")->set_type("string"); },
            "label \"delay\" has type string; accepted entries have int64"},
        Row{"MissingShareAtTheBound", kStrict, [](v1::EntryProfile* p) { column(p, "origin")->set_missing(50); }, ""},
        Row{"MissingShare", kStrict, [](v1::EntryProfile* p) { column(p, "origin")->set_missing(51); },
            "column \"origin\" is missing in 51 of 1000 rows, a share of 0.051; at most 0.05 is allowed"},
        Row{"MissingShareDefault", "", [](v1::EntryProfile* p) { column(p, "origin")->set_missing(250); },
            "column \"origin\" is missing in 250 of 1000 rows, a share of 0.25; at most 0.1 is allowed"},
        Row{"NonFinite", "", [](v1::EntryProfile* p) { column(p, "distance")->set_non_finite(3); },
            "column \"distance\" is NaN or infinite in 3 of 1000 rows"},
        Row{"NonFiniteLabel", "", [](v1::EntryProfile* p) { column(p, "delay")->set_non_finite(1000); },
            "label \"delay\" is NaN or infinite in 1000 of 1000 rows"},
        Row{"ConstantLabel", "",
            [](v1::EntryProfile* p) {
              p->mutable_label()->set_mean(0);
              p->mutable_label()->set_constant(true);
            },
            "label \"delay\" is the same in every row: the share of positives is 0"},
        Row{"LabelMeanNotANumber", "", [](v1::EntryProfile* p) { p->mutable_label()->set_mean(HUGE_VAL); },
            "label \"delay\" has the mean inf, which is not a finite number"},
        Row{"LabelMeanWithinTheBound", kStrict, [](v1::EntryProfile* p) { p->mutable_label()->set_mean(0.32); }, ""},
        Row{"LabelMeanChanged", kStrict, [](v1::EntryProfile* p) { p->mutable_label()->set_mean(0.5); },
            "label \"delay\" is positive in a share of 0.5; accepted entries have 0.23, and the difference of 0.27 is "
            "above 0.1"},
        Row{"LabelMeanNotChecked", "", [](v1::EntryProfile* p) { p->mutable_label()->set_mean(0.9); }, ""},
        Row{"RangeWithinTheExcess", kStrict, [](v1::EntryProfile* p) { column(p, "distance")->set_max(3125); }, ""},
        Row{"RangeAbove", kStrict, [](v1::EntryProfile* p) { column(p, "distance")->set_max(4150); },
            "column \"distance\" ranges from 100 to 4150, outside the accepted 50 to 2100 by 1 of its width; at most "
            "0.5 is allowed"},
        Row{"RangeBelow", kStrict, [](v1::EntryProfile* p) { column(p, "delay")->set_min(-420); },
            "label \"delay\" ranges from -420 to 180, outside the accepted -20 to 180 by 2 of its width; at most 0.5 "
            "is "
            "allowed"},
        Row{"RangeOfADerivedColumnDoesNotMatter", kStrict, [](v1::EntryProfile* p) { column(p, "date")->set_max(900); },
            ""},
        Row{"RangeNotChecked", "", [](v1::EntryProfile* p) { column(p, "distance")->set_max(1e9); }, ""},
        Row{"ChampionAtTheFloor", kStrict, [](v1::EntryProfile* p) { p->mutable_champion_metrics(0)->set_value(0.53); },
            ""},
        Row{"ChampionBelowTheFloor", kStrict,
            [](v1::EntryProfile* p) { p->mutable_champion_metrics(0)->set_value(0.503); },
            "champion flights/1 scores auc 0.503 on it; the floor is 0.53 (accepted entries: mean 0.5755, lowest "
            "0.551)"},
        Row{"ChampionAboveTheCeiling", "champion { metric: 'log_loss' max: 0.55 }",
            [](v1::EntryProfile* p) { p->mutable_champion_metrics(1)->set_value(0.7); },
            "champion flights/1 scores log_loss 0.7 on it; the ceiling is 0.55 (accepted entries: mean 0.5, highest "
            "0.5)"},
        Row{"ChampionNotANumber", kStrict,
            [](v1::EntryProfile* p) { p->mutable_champion_metrics(0)->set_value(-HUGE_VAL); },
            "champion flights/1 scores auc -inf on it, which is not a finite number"},
        Row{"ChampionNotScored", kStrict, [](v1::EntryProfile* p) { p->clear_champion_metrics(); },
            "champion flights/1 has no auc on it; the inspection gave: nothing"},
        Row{"ChampionScoredOtherwise", "champion { metric: 'rmse' max: 1 }", [](v1::EntryProfile*) {},
            "champion flights/1 has no rmse on it; the inspection gave: auc, log_loss"},
        Row{"NoChampion", kStrict,
            [](v1::EntryProfile* p) {
              p->clear_champion_version();
              p->clear_champion_metrics();
            },
            ""},
        Row{"EveryRuleItBreaks", kStrict,
            [](v1::EntryProfile* p) {
              column(p, "distance")->set_non_finite(3);
              column(p, "origin")->set_missing(400);
              p->mutable_label()->set_mean(0.5);
              p->mutable_champion_metrics(0)->set_value(0.503);
            },
            "column \"distance\" is NaN or infinite in 3 of 1000 rows; column \"origin\" is missing in 400 of 1000 "
            "rows, "
            "a share of 0.4; at most 0.05 is allowed; label \"delay\" is positive in a share of 0.5; accepted entries "
            "have 0.23, and the difference of 0.27 is above 0.1; champion flights/1 scores auc 0.503 on it; the floor "
            "is "
            "0.53 (accepted entries: mean 0.5755, lowest 0.551)"},
        Row{"WhatFollowsFromAMissingColumnIsNotRepeated", kStrict,
            [](v1::EntryProfile* p) {
              p->mutable_columns()->DeleteSubrange(0, 1);
              p->clear_champion_metrics();
            },
            "column \"distance\" is not in the file"}),
    [](const auto& row) { return std::string(row.param.name); });

v1::TrainStep regression() {
  auto step = parse<v1::TrainStep>(kStep);
  step.mutable_tabular()->mutable_label()->set_task(v1::Label::REGRESSION);
  return step;
}

TEST(Validation, TheFirstEntriesHaveNothingToBeComparedWith) {
  auto profile = day();
  column(&profile, "distance")->set_type("double");
  column(&profile, "distance")->set_max(1e9);
  profile.mutable_label()->set_mean(0.9);
  EXPECT_EQ(judge_entry(parse<v1::Validation>(kStrict), parse<v1::TrainStep>(kStep), profile, {}).reason, "");
  profile.mutable_champion_metrics(0)->set_value(0.4);
  EXPECT_EQ(judge_entry(parse<v1::Validation>(kStrict), parse<v1::TrainStep>(kStep), profile, {}).reason,
            "champion flights/1 scores auc 0.4 on it; the floor is 0.53 (no accepted entry has been scored)");
}

TEST(Validation, ARegressionLabelMayMoveButNotBeConstant) {
  auto profile = day();
  profile.mutable_label()->set_mean(170);
  EXPECT_TRUE(judge_entry(parse<v1::Validation>(kStrict), regression(), profile, accepted()).accepted);
  profile.mutable_label()->set_constant(true);
  EXPECT_EQ(judge_entry(parse<v1::Validation>(kStrict), regression(), profile, accepted()).reason,
            "label \"delay\" is the same in every row: 170");
}

TEST(Validation, ARangeWithoutAWidthIsNotCompared) {
  auto flat = day();
  column(&flat, "distance")->set_min(7);
  column(&flat, "distance")->set_max(7);
  EXPECT_TRUE(judge_entry(parse<v1::Validation>(kStrict), parse<v1::TrainStep>(kStep), day(), {flat}).accepted);
}

TEST(Validation, AnyTypeThatWasAcceptedIsAccepted) {
  auto wide = day();
  column(&wide, "distance")->set_type("double");
  EXPECT_TRUE(judge_entry({}, parse<v1::TrainStep>(kStep), wide, {day(), wide}).accepted);
  auto odd = day();
  column(&odd, "distance")->set_type("string");
  EXPECT_EQ(judge_entry({}, parse<v1::TrainStep>(kStep), odd, {wide, day()}).reason,
            "column \"distance\" has type string; accepted entries have double, int64");
}

}  // namespace
}  // namespace freshet::scheduler
