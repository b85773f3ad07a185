#include "scheduler/gates.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/check.h"
#include "base/random.h"
#include "scheduler/replay.h"
#include "scheduler/text.h"

namespace freshet::scheduler {
namespace {

constexpr double kConfidenceDefault = 0.95;
constexpr uint32_t kResamplesDefault = 2000;
constexpr uint32_t kLargestDefault = 10;

void add_number(v1::GateResult* result, const std::string& name, double value) {
  auto* number = result->add_numbers();
  number->set_name(name);
  number->set_value(value);
}

void decide(v1::GateResult* result, bool passed, std::string explanation) {
  result->set_passed(passed);
  result->set_explanation(std::move(explanation));
}

std::string champion_name(const v1::EvaluationReport& report) {
  return report.champion_version().empty() ? "the champion" : "champion " + report.champion_version();
}

std::string no_champion(const v1::EvaluationReport& report) {
  if (report.champion_version().empty()) return "there is no champion to compare with";
  return "champion " + report.champion_version() + " is a model of another family, which can't be compared with";
}

std::string better_by(double difference) {
  return (difference < 0 ? "worse by " : "better by ") + rounded(std::abs(difference));
}

std::string shown_metrics(const v1::ModelScores& scores) {
  std::vector<std::string> names;
  for (const auto& metric : scores.metrics()) names.push_back(metric.name());
  return names.empty() ? "none" : joined(names);
}

void judge_absolute(const v1::AbsoluteGate& gate, const v1::EvaluationReport& report, v1::GateResult* result) {
  const v1::Metric* found = nullptr;
  for (const auto& metric : report.candidate().metrics()) {
    if (metric.name() == gate.metric()) found = &metric;
  }
  if (found == nullptr) {
    return decide(result, false,
                  "the report has no metric " + gate.metric() + "; it has: " + shown_metrics(report.candidate()));
  }
  double value = found->value();
  add_number(result, gate.metric(), value);
  if (gate.has_min()) add_number(result, "min", gate.min());
  if (gate.has_max()) add_number(result, "max", gate.max());
  if (!std::isfinite(value)) {
    return decide(result, false, gate.metric() + " is " + exact(value) + ", which is not a finite number");
  }
  // Written so that a bound that is not a number fails.
  if (gate.has_min() && !(value >= gate.min())) {
    return decide(result, false, gate.metric() + " " + rounded_against(value, gate.min()) + " < " + exact(gate.min()));
  }
  if (gate.has_max() && !(value <= gate.max())) {
    return decide(result, false, gate.metric() + " " + rounded_against(value, gate.max()) + " > " + exact(gate.max()));
  }
  std::string text = gate.metric() + " " + rounded(value);
  if (gate.has_min()) text = gate.metric() + " " + rounded_against(value, gate.min()) + " >= " + exact(gate.min());
  if (gate.has_max()) {
    text += gate.has_min() ? " and <= " + exact(gate.max()) : " <= " + exact(gate.max());
  }
  if (!gate.has_min() && !gate.has_max()) text += "; the gate sets no bound";
  decide(result, true, std::move(text));
}

void judge_relative(const v1::RelativeGate& gate, const v1::EvaluationReport& report, v1::GateResult* result) {
  if (!report.has_champion()) return decide(result, true, no_champion(report));
  double confidence = gate.confidence() == 0 ? kConfidenceDefault : gate.confidence();
  uint32_t resamples = gate.resamples() == 0 ? kResamplesDefault : gate.resamples();
  if (!(confidence > 0 && confidence < 1)) {
    return decide(result, false, "the confidence " + exact(confidence) + " is not between 0 and 1");
  }
  std::vector<PairedLoss> blocks;
  uint64_t rows = 0;
  double candidate = 0;
  double champion = 0;
  for (const auto& entry : report.entries()) {
    if (!std::isfinite(entry.candidate_loss_sum()) || !std::isfinite(entry.champion_loss_sum())) {
      bool candidates = !std::isfinite(entry.candidate_loss_sum());
      return decide(result, false,
                    "the " + report.loss() + " of " + (candidates ? "the candidate" : champion_name(report)) + " on " +
                        entry.uri() + " is " +
                        exact(candidates ? entry.candidate_loss_sum() : entry.champion_loss_sum()) +
                        ", which is not a finite number");
    }
    if (entry.rows() == 0) continue;
    blocks.push_back({entry.champion_loss_sum() - entry.candidate_loss_sum(), entry.rows()});
    rows += entry.rows();
    candidate += entry.candidate_loss_sum();
    champion += entry.champion_loss_sum();
  }
  if (blocks.empty()) return decide(result, false, "the report scores no row of the holdout");
  auto interval = paired_bootstrap(blocks, confidence, resamples, gate.seed());
  double total = static_cast<double>(rows);
  add_number(result, "candidate_" + report.loss(), candidate / total);
  add_number(result, "champion_" + report.loss(), champion / total);
  add_number(result, "difference", interval.mean);
  add_number(result, "lower", interval.lower);
  add_number(result, "upper", interval.upper);
  add_number(result, "margin", gate.margin());
  add_number(result, "confidence", confidence);
  add_number(result, "resamples", resamples);
  add_number(result, "entries", static_cast<double>(blocks.size()));
  add_number(result, "rows", total);
  double bound = 0 - gate.margin();
  bool passed = interval.lower >= bound;
  decide(result, passed,
         report.loss() + " " + rounded_against(candidate / total, champion / total) + " against " +
             rounded_against(champion / total, candidate / total) + " of " + champion_name(report) + ", " +
             better_by(interval.mean) + "; the lower end of the " + rounded(confidence * 100) + " % interval, " +
             rounded_against(interval.lower, bound) + ", is " + (passed ? "not below " : "below ") + exact(bound) +
             " (" + counted(blocks.size(), "entry") + ", " + counted(rows, "row") + ")");
}

void judge_slices(const v1::SliceGate& gate, const v1::EvaluationReport& report, v1::GateResult* result) {
  if (!report.has_champion()) return decide(result, true, no_champion(report));
  std::vector<const v1::SliceScores*> slices;
  for (const auto& slice : report.slices()) {
    if (slice.column() == gate.column() && slice.rows() > 0) slices.push_back(&slice);
  }
  if (slices.empty()) return decide(result, false, "the report has no slices of column " + gate.column());
  std::sort(slices.begin(), slices.end(), [](const auto* a, const auto* b) {
    return a->rows() != b->rows() ? a->rows() > b->rows() : a->value() < b->value();
  });
  size_t largest = gate.largest() == 0 ? kLargestDefault : gate.largest();
  if (slices.size() > largest) slices.resize(largest);

  struct Means {
    double candidate, champion, worse;
  };
  auto means_of = [](const v1::SliceScores& slice) {
    double rows = static_cast<double>(slice.rows());
    Means means{slice.candidate_loss_sum() / rows, slice.champion_loss_sum() / rows, 0};
    means.worse = means.candidate - means.champion;
    return means;
  };
  const v1::SliceScores* worst = slices.front();
  size_t too_bad = 0;
  add_number(result, "margin", gate.margin());
  for (const auto* slice : slices) {
    double worse = means_of(*slice).worse;
    add_number(result, gate.column() + "=" + slice->value() + " worse_by", worse);
    if (!std::isfinite(worse)) {
      return decide(result, false,
                    "the " + report.loss() + " on " + gate.column() + " " + slice->value() + " is not a finite number");
    }
    if (worse > means_of(*worst).worse) worst = slice;
    if (!(worse <= gate.margin())) ++too_bad;
  }
  Means means = means_of(*worst);
  std::string size = std::to_string(slices.size());
  std::string text = too_bad == 0
                         ? "none of the " + size + " largest values of " + gate.column() + " is worse by more than "
                         : std::to_string(too_bad) + " of the " + size + " largest values of " + gate.column() +
                               (too_bad == 1 ? " is" : " are") + " worse by more than ";
  text += exact(gate.margin()) + "; the worst is " + worst->value() + ": " + report.loss() + " " +
          rounded_against(means.candidate, means.champion) + " against " +
          rounded_against(means.champion, means.candidate) + ", " + better_by(-means.worse) + " (" +
          counted(worst->rows(), "row") + ")";
  decide(result, too_bad == 0, std::move(text));
}

// What other numerics give says nothing of those that the candidate's record names, whether or not it is the same.
void judge_replay(const v1::ReplayReport* report, v1::GateResult* result) {
  if (report == nullptr) return decide(result, false, "the run has not trained its candidate again");
  const LargestDifference largest = largest_difference(*report);
  add_number(result, "equal", report->is_equal() ? 1 : 0);
  add_number(result, "same_numerics", report->is_same_numerics() ? 1 : 0);
  add_number(result, "different_tensors", report->differences_size());
  add_number(result, "largest_absolute_difference", largest.absolute);
  add_number(result, "largest_relative_difference", largest.relative);
  decide(result, report->is_equal() && report->is_same_numerics(), explain_replay(*report));
}

}  // namespace

BootstrapInterval paired_bootstrap(const std::vector<PairedLoss>& blocks, double confidence, uint32_t resamples,
                                   uint64_t seed) {
  CHECK(!blocks.empty() && resamples > 0);
  auto mean_of = [](double difference, uint64_t rows) {
    CHECK(rows > 0);
    return difference / static_cast<double>(rows);
  };
  PairedLoss all;
  for (const auto& block : blocks) {
    all.difference += block.difference;
    all.rows += block.rows;
  }
  Philox philox(seed);
  std::vector<double> means(resamples);
  for (uint64_t r = 0; r < resamples; ++r) {
    PairedLoss sum;
    for (uint64_t i = 0; i < blocks.size(); ++i) {
      const auto& block = blocks[philox.below(r * blocks.size() + i, blocks.size())];
      sum.difference += block.difference;
      sum.rows += block.rows;
    }
    means[r] = mean_of(sum.difference, sum.rows);
  }
  std::sort(means.begin(), means.end());
  // The tolerance keeps 0.025 * 2000 at rank 50 although (1 - 0.95) / 2 is a little more than 0.025.
  double tail = (1 - confidence) / 2 * resamples;
  auto rank = static_cast<size_t>(std::max(std::ceil(tail - 1e-6), 1.0)) - 1;
  return {mean_of(all.difference, all.rows), means[rank], means[resamples - 1 - rank]};
}

v1::Verdict judge(const google::protobuf::RepeatedPtrField<v1::Gate>& gates, const v1::EvaluationReport& report,
                  const v1::ReplayReport* replay) {
  v1::Verdict verdict;
  verdict.set_champion_version(report.champion_version());
  bool passed = true;
  for (const auto& gate : gates) {
    auto* result = verdict.add_gates();
    *result->mutable_gate() = gate;
    switch (gate.rule_case()) {
      case v1::Gate::kAbsolute:
        judge_absolute(gate.absolute(), report, result);
        break;
      case v1::Gate::kRelative:
        judge_relative(gate.relative(), report, result);
        break;
      case v1::Gate::kSlices:
        judge_slices(gate.slices(), report, result);
        break;
      case v1::Gate::kReplay:
        judge_replay(replay, result);
        break;
      case v1::Gate::RULE_NOT_SET:
        decide(result, false, "the gate has no rule");
        break;
    }
    passed = passed && result->passed();
  }
  verdict.set_passed(passed);
  return verdict;
}

}  // namespace freshet::scheduler
