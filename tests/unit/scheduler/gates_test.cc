#include "scheduler/gates.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "tests/unit/scheduler/text_proto.h"

namespace freshet::scheduler {
namespace {

// One gate on a report, both as text.
v1::GateResult judged(const std::string& gate, const v1::EvaluationReport& report) {
  google::protobuf::RepeatedPtrField<v1::Gate> gates;
  *gates.Add() = parse<v1::Gate>(gate);
  auto verdict = judge(gates, report);
  EXPECT_EQ(verdict.passed(), verdict.gates(0).passed());
  return verdict.gates(0);
}

v1::EvaluationReport report_of(const std::string& text) {
  return parse<v1::EvaluationReport>("loss: 'log_loss' " + text);
}

std::string said(const std::string& gate, const std::string& report) {
  auto result = judged(gate, report_of(report));
  return (result.passed() ? "pass: " : "fail: ") + result.explanation();
}

double number(const v1::GateResult& result, const std::string& name) {
  for (const auto& metric : result.numbers()) {
    if (metric.name() == name) return metric.value();
  }
  ADD_FAILURE() << "no number " << name;
  return 0;
}

const std::string kScores =
    "candidate { metrics { name: 'auc' value: 0.5812 } metrics { name: 'log_loss' value: 0.5 } } ";

TEST(AbsoluteGate, ComparesWithItsBounds) {
  EXPECT_EQ(said("absolute { metric: 'auc' min: 0.55 }", kScores), "pass: auc 0.5812 >= 0.55");
  EXPECT_EQ(said("absolute { metric: 'auc' max: 0.6 }", kScores), "pass: auc 0.5812 <= 0.6");
  EXPECT_EQ(said("absolute { metric: 'auc' min: 0.55 max: 0.6 }", kScores), "pass: auc 0.5812 >= 0.55 and <= 0.6");
  EXPECT_EQ(said("absolute { metric: 'auc' min: 0.6 }", kScores), "fail: auc 0.5812 < 0.6");
  EXPECT_EQ(said("absolute { metric: 'auc' max: 0.58 }", kScores), "fail: auc 0.5812 > 0.58");
  EXPECT_EQ(said("absolute { metric: 'auc' min: 0.5812 }", kScores), "pass: auc 0.5812 >= 0.5812");
  EXPECT_EQ(said("absolute { metric: 'auc' max: 0.5812 }", kScores), "pass: auc 0.5812 <= 0.5812");
  EXPECT_EQ(said("absolute { metric: 'auc' min: 0.58120001 }", kScores), "fail: auc 0.5812 < 0.58120001");
  EXPECT_EQ(said("absolute { metric: 'auc' }", kScores), "pass: auc 0.5812; the gate sets no bound");
}

TEST(AbsoluteGate, KeepsTheNumbersItSaw) {
  auto result = judged("name: 'floor' absolute { metric: 'auc' min: 0.55 max: 0.9 }", report_of(kScores));
  EXPECT_EQ(result.gate().name(), "floor");
  EXPECT_EQ(number(result, "auc"), 0.5812);
  EXPECT_EQ(number(result, "min"), 0.55);
  EXPECT_EQ(number(result, "max"), 0.9);
}

TEST(AbsoluteGate, WhatIsMissingOrNotFiniteFails) {
  EXPECT_EQ(said("absolute { metric: 'rmse' max: 1 }", kScores),
            "fail: the report has no metric rmse; it has: auc, log_loss");
  EXPECT_EQ(said("absolute { metric: 'rmse' max: 1 }", ""), "fail: the report has no metric rmse; it has: none");
  for (const char* value : {"nan", "inf", "-inf"}) {
    EXPECT_EQ(
        said("absolute { metric: 'auc' }", std::string("candidate { metrics { name: 'auc' value: ") + value + " } }"),
        std::string("fail: auc is ") + value + ", which is not a finite number");
  }
  EXPECT_EQ(said("absolute { metric: 'auc' min: nan }", kScores), "fail: auc 0.5812 < nan");
}

TEST(Judge, EveryGateIsJudgedAndAllMustPass) {
  google::protobuf::RepeatedPtrField<v1::Gate> gates;
  auto report = report_of(kScores + "champion_version: 'flights/3'");
  auto verdict = judge(gates, report);
  EXPECT_TRUE(verdict.passed());
  EXPECT_EQ(verdict.gates_size(), 0);
  EXPECT_EQ(verdict.champion_version(), "flights/3");
  *gates.Add() = parse<v1::Gate>("name: 'a' absolute { metric: 'auc' min: 0.9 }");
  *gates.Add() = parse<v1::Gate>("name: 'b'");
  *gates.Add() = parse<v1::Gate>("name: 'c' absolute { metric: 'auc' min: 0.5 }");
  verdict = judge(gates, report);
  EXPECT_FALSE(verdict.passed());
  ASSERT_EQ(verdict.gates_size(), 3);
  EXPECT_FALSE(verdict.gates(0).passed());
  EXPECT_FALSE(verdict.gates(1).passed());
  EXPECT_EQ(verdict.gates(1).explanation(), "the gate has no rule");
  EXPECT_TRUE(verdict.gates(2).passed());
}

// Three days; the candidate is better by 0.02, 0.01 and -0.01 per row.
const std::string kThreeDays = R"(
  champion { metrics { name: 'auc' value: 0.57 } } champion_version: 'flights/1'
  entries { uri: 'd1' rows: 100 candidate_loss_sum: 48 champion_loss_sum: 50 }
  entries { uri: 'd2' rows: 100 candidate_loss_sum: 49 champion_loss_sum: 50 }
  entries { uri: 'd3' rows: 100 candidate_loss_sum: 51 champion_loss_sum: 50 })";

std::vector<PairedLoss> three_days() { return {{2, 100}, {1, 100}, {-1, 100}}; }

// The nearest-rank quantile over all n^n equally likely resamples.
BootstrapInterval enumerated(const std::vector<PairedLoss>& blocks, double confidence) {
  std::vector<double> means;
  size_t n = blocks.size();
  size_t all = 1;
  for (size_t i = 0; i < n; ++i) all *= n;
  for (size_t code = 0; code < all; ++code) {
    double difference = 0;
    uint64_t rows = 0;
    for (size_t i = 0, rest = code; i < n; ++i, rest /= n) {
      difference += blocks[rest % n].difference;
      rows += blocks[rest % n].rows;
    }
    means.push_back(difference / static_cast<double>(rows));
  }
  std::sort(means.begin(), means.end());
  auto rank = static_cast<size_t>(std::ceil((1 - confidence) / 2 * static_cast<double>(all))) - 1;
  return {0, means[rank], means[all - 1 - rank]};
}

TEST(Bootstrap, OneBlockHasNoSpread) {
  auto interval = paired_bootstrap({{3, 100}}, 0.95, 100, 1);
  EXPECT_EQ(interval.mean, 0.03);
  EXPECT_EQ(interval.lower, 0.03);
  EXPECT_EQ(interval.upper, 0.03);
}

// Two blocks of one row: a resample's mean is -1, 0 or 1 with the chances 1/4, 1/2, 1/4, so by hand the 50 % interval
// begins at -1 or 0 (its rank lies on the edge), the 60 % interval at -1 and the 40 % interval at 0.
TEST(Bootstrap, TwoBlocksGiveTheIntervalFoundByHand) {
  std::vector<PairedLoss> blocks = {{-1, 1}, {1, 1}};
  auto wide = paired_bootstrap(blocks, 0.6, 20000, 7);
  EXPECT_EQ(wide.mean, 0);
  EXPECT_EQ(wide.lower, -1);
  EXPECT_EQ(wide.upper, 1);
  auto narrow = paired_bootstrap(blocks, 0.4, 20000, 7);
  EXPECT_EQ(narrow.lower, 0);
  EXPECT_EQ(narrow.upper, 0);
}

TEST(Bootstrap, ThreeBlocksAgreeWithEveryResampleEnumerated) {
  std::vector<std::vector<PairedLoss>> worlds = {
      three_days(), {{5, 10}, {-3, 200}, {0.5, 40}}, {{-1, 1}, {-2, 1}, {-4, 1}}};
  for (const auto& blocks : worlds) {
    for (double confidence : {0.5, 0.8, 0.9, 0.95}) {
      auto expected = enumerated(blocks, confidence);
      auto got = paired_bootstrap(blocks, confidence, 50000, 42);
      EXPECT_NEAR(got.lower, expected.lower, 1e-12) << confidence;
      EXPECT_NEAR(got.upper, expected.upper, 1e-12) << confidence;
    }
  }
}

TEST(Bootstrap, ResamplesWholeBlocksWithTheCountersOfThePosition) {
  // Sums of different powers of two, so that no two resamples that differ have the same mean.
  std::vector<PairedLoss> blocks;
  for (int i = 0; i < 10; ++i) blocks.push_back({static_cast<double>(1 << (4 * i % 23)) - 1000, 64});
  Philox philox(9);
  std::vector<double> means;
  for (uint64_t r = 0; r < 40; ++r) {
    double sum = 0;
    for (uint64_t i = 0; i < 10; ++i) sum += blocks[philox.below(r * 10 + i, 10)].difference;
    means.push_back(sum / 640);
  }
  std::sort(means.begin(), means.end());
  ASSERT_EQ(std::adjacent_find(means.begin(), means.end()), means.end());
  auto got = paired_bootstrap(blocks, 0.9, 40, 9);
  EXPECT_EQ(got.lower, means[1]);  // rank 0.05 * 40 = 2
  EXPECT_EQ(got.upper, means[38]);
}

TEST(Bootstrap, TheSameSeedGivesTheSameBits) {
  std::vector<PairedLoss> blocks;
  SeededRandom random(5);
  for (int i = 0; i < 14; ++i) {
    blocks.push_back({static_cast<double>(random.next() % 1000) / 7 - 70, 1 + random.next() % 20000});
  }
  auto first = paired_bootstrap(blocks, 0.95, 2000, 11);
  auto again = paired_bootstrap(blocks, 0.95, 2000, 11);
  EXPECT_EQ(first.lower, again.lower);
  EXPECT_EQ(first.upper, again.upper);
  auto other = paired_bootstrap(blocks, 0.95, 2000, 12);
  EXPECT_NE(first.lower, other.lower);
}

TEST(RelativeGate, TheLowerEndMustNotBeBelowTheMargin) {
  // By enumeration: of 27 resamples one has the mean -0.01, so the 95 % interval begins there (1/27 = 3.7 %).
  EXPECT_EQ(said("relative { margin: 0.002 confidence: 0.95 resamples: 2000 seed: 1 }", kThreeDays),
            "fail: log_loss 0.4933 against 0.5 of champion flights/1, better by 0.006667; the lower end of the 95 % "
            "interval, -0.01, is below -0.002 (3 entries, 300 rows)");
  EXPECT_EQ(said("relative { margin: 0.01 confidence: 0.95 resamples: 2000 seed: 1 }", kThreeDays),
            "pass: log_loss 0.4933 against 0.5 of champion flights/1, better by 0.006667; the lower end of the 95 % "
            "interval, -0.01, is not below -0.01 (3 entries, 300 rows)");
  EXPECT_EQ(said("relative { margin: 0 confidence: 0.6 resamples: 2000 seed: 1 }", kThreeDays),
            "pass: log_loss 0.4933 against 0.5 of champion flights/1, better by 0.006667; the lower end of the 60 % "
            "interval, 0, is not below 0 (3 entries, 300 rows)");
}

TEST(RelativeGate, ACandidateThatIsWorseSaysSo) {
  EXPECT_EQ(
      said("relative { margin: 0.001 }",
           "champion {} entries { uri: 'd1' rows: 10 candidate_loss_sum: 6 champion_loss_sum: 5 }"),
      "fail: log_loss 0.6 against 0.5 of the champion, worse by 0.1; the lower end of the 95 % interval, -0.1, is "
      "below -0.001 (1 entry, 10 rows)");
}

TEST(RelativeGate, KeepsTheNumbersItSawAndTheDefaults) {
  auto result = judged("relative { margin: 0.002 }", report_of(kThreeDays));
  EXPECT_EQ(number(result, "confidence"), 0.95);
  EXPECT_EQ(number(result, "resamples"), 2000);
  EXPECT_EQ(number(result, "entries"), 3);
  EXPECT_EQ(number(result, "rows"), 300);
  EXPECT_EQ(number(result, "margin"), 0.002);
  EXPECT_DOUBLE_EQ(number(result, "candidate_log_loss"), 148.0 / 300);
  EXPECT_DOUBLE_EQ(number(result, "champion_log_loss"), 0.5);
  EXPECT_DOUBLE_EQ(number(result, "difference"), 2.0 / 300);
  EXPECT_DOUBLE_EQ(number(result, "lower"), -0.01);
  EXPECT_DOUBLE_EQ(number(result, "upper"), 0.02);
}

TEST(RelativeGate, TheSameReportGivesTheSameVerdictToTheByte) {
  google::protobuf::RepeatedPtrField<v1::Gate> gates;
  *gates.Add() = parse<v1::Gate>("relative { margin: 0.002 seed: 3 }");
  auto report = report_of(kThreeDays);
  EXPECT_EQ(judge(gates, report).SerializeAsString(), judge(gates, report).SerializeAsString());
}

TEST(RelativeGate, WithoutAChampionItPasses) {
  EXPECT_EQ(said("relative { margin: 0 }", kScores), "pass: there is no champion to compare with");
  EXPECT_EQ(said("slices { column: 'origin' }", kScores), "pass: there is no champion to compare with");
  EXPECT_EQ(said("relative { margin: 0 }", kScores + "champion_version: 'flights/3'"),
            "pass: champion flights/3 is a model of another family, which can't be compared with");
}

TEST(RelativeGate, WhatIsMissingOrNotFiniteFails) {
  EXPECT_EQ(said("relative { margin: 0 }", "champion {}"), "fail: the report scores no row of the holdout");
  EXPECT_EQ(said("relative { margin: 0 }",
                 "champion {} entries { uri: 'd1' rows: 0 candidate_loss_sum: 0 champion_loss_sum: 0 }"),
            "fail: the report scores no row of the holdout");
  EXPECT_EQ(said("relative { margin: 0 }",
                 "champion {} entries { uri: 'd1' rows: 1 candidate_loss_sum: nan champion_loss_sum: 0 }"),
            "fail: the log_loss of the candidate on d1 is nan, which is not a finite number");
  EXPECT_EQ(said("relative { margin: 0 }",
                 "champion {} champion_version: 'f/2' entries { uri: 'd1' rows: 1 champion_loss_sum: inf }"),
            "fail: the log_loss of champion f/2 on d1 is inf, which is not a finite number");
  EXPECT_EQ(said("relative { margin: 0 confidence: 1.5 }", kThreeDays),
            "fail: the confidence 1.5 is not between 0 and 1");
  EXPECT_EQ(said("relative { margin: nan }", "champion {} entries { uri: 'd1' rows: 10 champion_loss_sum: 5 }"),
            "fail: log_loss 0 against 0.5 of the champion, better by 0.5; the lower end of the 95 % interval, 0.5, is "
            "below nan (1 entry, 10 rows)");
}

const std::string kSlices = R"(
  champion {} champion_version: 'flights/1'
  slices { column: 'origin' value: 'ATL' rows: 300 candidate_loss_sum: 150 champion_loss_sum: 153 }
  slices { column: 'origin' value: 'ORD' rows: 200 candidate_loss_sum: 104 champion_loss_sum: 100 }
  slices { column: 'origin' value: 'XNA' rows: 10 candidate_loss_sum: 9 champion_loss_sum: 5 }
  slices { column: 'destination' value: 'LAX' rows: 500 candidate_loss_sum: 900 champion_loss_sum: 5 })";

TEST(SliceGate, TheLargestSlicesMayNotGetWorseByMoreThanTheMargin) {
  EXPECT_EQ(said("slices { column: 'origin' largest: 2 margin: 0.03 }", kSlices),
            "pass: none of the 2 largest values of origin is worse by more than 0.03; the worst is ORD: log_loss 0.52 "
            "against 0.5, worse by 0.02 (200 rows)");
  EXPECT_EQ(said("slices { column: 'origin' largest: 2 margin: 0.01 }", kSlices),
            "fail: 1 of the 2 largest values of origin is worse by more than 0.01; the worst is ORD: log_loss 0.52 "
            "against 0.5, worse by 0.02 (200 rows)");
  EXPECT_EQ(said("slices { column: 'origin' margin: 0.01 }", kSlices),
            "fail: 2 of the 3 largest values of origin are worse by more than 0.01; the worst is XNA: log_loss 0.9 "
            "against 0.5, worse by 0.4 (10 rows)");
  EXPECT_EQ(said("slices { column: 'origin' largest: 1 margin: 0.01 }", kSlices),
            "pass: none of the 1 largest values of origin is worse by more than 0.01; the worst is ATL: log_loss 0.5 "
            "against 0.51, better by 0.01 (300 rows)");
}

TEST(SliceGate, KeepsTheNumbersOfEverySlice) {
  auto result = judged("slices { column: 'origin' largest: 2 margin: 0.03 }", report_of(kSlices));
  EXPECT_EQ(number(result, "margin"), 0.03);
  EXPECT_NEAR(number(result, "origin=ATL worse_by"), -0.01, 1e-12);
  EXPECT_NEAR(number(result, "origin=ORD worse_by"), 0.02, 1e-12);
  EXPECT_EQ(result.numbers_size(), 3);
}

TEST(SliceGate, WhatIsMissingOrNotFiniteFails) {
  EXPECT_EQ(said("slices { column: 'airline' }", kSlices), "fail: the report has no slices of column airline");
  EXPECT_EQ(
      said("slices { column: 'a' }", "champion {} slices { column: 'a' value: 'x' rows: 1 candidate_loss_sum: nan }"),
      "fail: the log_loss on a x is not a finite number");
}

v1::GateResult judged_replay(const v1::ReplayReport* replay) {
  google::protobuf::RepeatedPtrField<v1::Gate> gates;
  *gates.Add() = parse<v1::Gate>("name: 'reproducible' replay {}");
  auto verdict = judge(gates, v1::EvaluationReport(), replay);
  EXPECT_EQ(verdict.passed(), verdict.gates(0).passed());
  return verdict.gates(0);
}

TEST(ReplayGate, PassesOnlyTheSameWeightsByTheSameNumerics) {
  EXPECT_FALSE(judged_replay(nullptr).passed());
  EXPECT_EQ(judged_replay(nullptr).explanation(), "the run has not trained its candidate again");

  auto report = parse<v1::ReplayReport>("is_equal: true is_same_numerics: true");
  auto result = judged_replay(&report);
  EXPECT_TRUE(result.passed());
  EXPECT_EQ(number(result, "equal"), 1);
  EXPECT_EQ(number(result, "same_numerics"), 1);
  EXPECT_EQ(number(result, "different_tensors"), 0);

  // Proves nothing of the engine that the record names.
  report.set_is_same_numerics(false);
  report.mutable_numerics()->set_instruction_set("avx2");
  report.mutable_replayed_numerics()->set_instruction_set("avx512");
  EXPECT_FALSE(judged_replay(&report).passed());
  EXPECT_NE(judged_replay(&report).explanation().find("by other numerics: instruction set avx512 instead of avx2"),
            std::string::npos);

  report = parse<v1::ReplayReport>(
      "is_same_numerics: true differences { name: 'x' different: 2 largest_absolute: 0.5 largest_relative: 0.25 }");
  result = judged_replay(&report);
  EXPECT_FALSE(result.passed());
  EXPECT_EQ(number(result, "equal"), 0);
  EXPECT_EQ(number(result, "different_tensors"), 1);
  EXPECT_EQ(number(result, "largest_absolute_difference"), 0.5);
  EXPECT_EQ(number(result, "largest_relative_difference"), 0.25);
}

}  // namespace
}  // namespace freshet::scheduler
