#include "scheduler/retention.h"

#include <algorithm>

namespace freshet::scheduler {
namespace {

constexpr int64_t kDayUs = 86'400'000'000;
// One for each kind of model.
constexpr const char* kLosses[] = {"log_loss", "rmse", "bits_per_byte"};

bool is_larger_better(const std::string& metric) { return metric == "auc" || metric == "accuracy" || metric == "r2"; }

std::string metric_name(const v1::Retention& policy) { return policy.metric().empty() ? "loss" : policy.metric(); }

// Why an alias keeps the version; empty when none does.
std::string kept_by_alias(const v1::Retention& policy, const VersionFacts& facts, Time now) {
  std::string reason;
  for (const AliasUse& use : facts.aliases) {
    if (use.until == Time::never()) return "alias " + use.alias + " points to it";
    if (use.is_fallback) {
      reason = "a rollback of alias " + use.alias + " would go to it";
    } else if (reason.empty() && now - use.until < Duration{policy.keep_promoted_days() * kDayUs}) {
      reason = "alias " + use.alias + " pointed to it until " + to_iso8601(use.until) + ", less than " +
               std::to_string(policy.keep_promoted_days()) + " days ago";
    }
  }
  return reason;
}

// The indexes of the best versions that passed; of equals, the newer one.
std::vector<size_t> best_of(const v1::Retention& policy, const std::vector<VersionFacts>& versions) {
  std::vector<size_t> ranked;
  for (size_t i = versions.size(); i-- > 0;) {
    if (versions[i].passed && versions[i].score) ranked.push_back(i);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [&](size_t a, size_t b) { return *versions[a].score > *versions[b].score; });
  ranked.resize(std::min<size_t>(ranked.size(), policy.keep_best()));
  return ranked;
}

}  // namespace

std::optional<double> retention_score(const v1::Retention& policy, const v1::ModelVersion& version) {
  for (const auto& metric : version.metrics()) {
    const bool is_wanted = policy.metric().empty()
                               ? std::count(std::begin(kLosses), std::end(kLosses), metric.name()) > 0
                               : metric.name() == policy.metric();
    if (is_wanted) return is_larger_better(metric.name()) ? metric.value() : -metric.value();
  }
  return std::nullopt;
}

std::vector<RetentionDecision> decide_retention(const v1::Retention& policy, const std::vector<VersionFacts>& versions,
                                                Time now) {
  std::vector<RetentionDecision> decisions(versions.size());
  for (size_t i : best_of(policy, versions)) {
    decisions[i] = {true, "one of the best " + std::to_string(policy.keep_best()) + " by " + metric_name(policy)};
  }
  for (size_t i = 0; i < versions.size(); ++i) {
    if (versions.size() - i <= policy.keep_last()) {
      decisions[i] = {true, "one of the newest " + std::to_string(policy.keep_last())};
    }
    std::string reason = kept_by_alias(policy, versions[i], now);
    if (!reason.empty()) decisions[i] = {true, std::move(reason)};
    if (decisions[i].keep) continue;
    decisions[i].reason = "not one of the newest " + std::to_string(policy.keep_last()) + ", nor of the best " +
                          std::to_string(policy.keep_best()) + " by " + metric_name(policy) +
                          "; no alias pointed to it within " + std::to_string(policy.keep_promoted_days()) + " days";
  }
  return decisions;
}

}  // namespace freshet::scheduler
