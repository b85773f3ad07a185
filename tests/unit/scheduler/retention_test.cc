#include "scheduler/retention.h"

#include <gtest/gtest.h>

namespace freshet::scheduler {
namespace {

constexpr Time kNow{1'793'534'400'000'000};
constexpr int64_t kDay = 86'400'000'000;

v1::Retention policy(uint32_t last, uint32_t best, uint32_t days) {
  v1::Retention policy;
  policy.set_keep_last(last);
  policy.set_keep_best(best);
  policy.set_keep_promoted_days(days);
  policy.set_metric("auc");
  return policy;
}

std::vector<VersionFacts> versions(std::vector<double> scores) {
  std::vector<VersionFacts> all;
  for (double score : scores) all.push_back({all.size() + 1, true, score, {}});
  return all;
}

// The versions kept, "1 4 5".
std::string kept(const v1::Retention& policy, const std::vector<VersionFacts>& versions) {
  std::string text;
  auto decisions = decide_retention(policy, versions, kNow);
  for (size_t i = 0; i < versions.size(); ++i) {
    EXPECT_FALSE(decisions[i].reason.empty());
    if (decisions[i].keep) text += (text.empty() ? "" : " ") + std::to_string(versions[i].version);
  }
  return text;
}

TEST(Retention, KeepsTheNewest) {
  EXPECT_EQ(kept(policy(2, 0, 0), versions({0.5, 0.6, 0.7, 0.8})), "3 4");
  EXPECT_EQ(kept(policy(9, 0, 0), versions({0.5, 0.6})), "1 2");
  EXPECT_EQ(kept(policy(0, 0, 0), versions({0.5, 0.6})), "");
  EXPECT_EQ(kept(policy(1, 0, 0), {}), "");
}

TEST(Retention, KeepsTheBestThatPassed) {
  auto all = versions({0.9, 0.7, 0.95, 0.6, 0.7});
  EXPECT_EQ(kept(policy(0, 2, 0), all), "1 3");
  all[2].passed = false;
  EXPECT_EQ(kept(policy(0, 2, 0), all), "1 5") << "of equals, the newer one";
  all[0].score.reset();
  EXPECT_EQ(kept(policy(0, 9, 0), all), "2 4 5");
}

TEST(Retention, KeepsWhatAliasesPointToOrPointedTo) {
  auto all = versions({0.5, 0.5, 0.5, 0.5, 0.5});
  all[0].aliases.push_back({"champion", kNow - Duration{10 * kDay}, false});
  all[1].aliases.push_back({"champion", kNow - Duration{5 * kDay}, false});
  all[2].aliases.push_back({"champion", kNow - Duration{100 * kDay}, true});
  all[3].aliases.push_back({"champion", Time::never(), false});
  EXPECT_EQ(kept(policy(0, 0, 7), all), "2 3 4");
  EXPECT_EQ(kept(policy(0, 0, 30), all), "1 2 3 4");
  EXPECT_EQ(kept(policy(0, 0, 0), all), "3 4");
  auto decisions = decide_retention(policy(0, 0, 7), all, kNow);
  EXPECT_EQ(decisions[3].reason, "alias champion points to it");
  EXPECT_EQ(decisions[2].reason, "a rollback of alias champion would go to it");
  EXPECT_EQ(decisions[1].reason, "alias champion pointed to it until 2026-10-27T12:00:00.000Z, less than 7 days ago");
  EXPECT_EQ(decisions[4].reason,
            "not one of the newest 0, nor of the best 0 by auc; no alias pointed to it within 7 days");
}

TEST(Retention, ScoresAreLargerForBetterModels) {
  v1::ModelVersion version;
  auto add = [&](const char* name, double value) {
    auto* metric = version.add_metrics();
    metric->set_name(name);
    metric->set_value(value);
  };
  add("auc", 0.8);
  add("log_loss", 0.4);
  auto by = policy(1, 1, 1);
  EXPECT_EQ(retention_score(by, version), 0.8);
  by.set_metric("log_loss");
  EXPECT_EQ(retention_score(by, version), -0.4);
  by.set_metric("");
  EXPECT_EQ(retention_score(by, version), -0.4) << "the loss";
  by.set_metric("r2");
  EXPECT_FALSE(retention_score(by, version));
}

}  // namespace
}  // namespace freshet::scheduler
