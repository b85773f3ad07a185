#include "scheduler/validation.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "scheduler/text.h"

namespace freshet::scheduler {
namespace {

constexpr double kMissingShareDefault = 0.1;

using Profiles = std::vector<v1::EntryProfile>;

// A column that the recipe reads.
struct UsedColumn {
  std::string name;
  bool label = false;
  bool ranged = false;  // its values as they are reach the model, so that their range matters
};

std::vector<UsedColumn> used_columns(const v1::TabularModel& model) {
  std::vector<UsedColumn> columns;
  auto use = [&columns](const std::string& name, bool label, bool ranged) {
    for (auto& column : columns) {
      if (column.name != name) continue;
      column.label = column.label || label;
      column.ranged = column.ranged || ranged;
      return;
    }
    columns.push_back({name, label, ranged});
  };
  for (const auto& feature : model.features()) {
    use(feature.column(), false, feature.kind() == v1::Feature::NUMERIC && feature.derive() == v1::Feature::NONE);
  }
  if (!model.weight_column().empty()) use(model.weight_column(), false, false);
  use(model.label().column(), true, true);
  return columns;
}

const v1::ColumnProfile* find_column(const v1::EntryProfile& profile, const std::string& name) {
  for (const auto& column : profile.columns()) {
    if (column.name() == name) return &column;
  }
  return nullptr;
}

std::string title(const UsedColumn& used) { return (used.label ? "label \"" : "column \"") + used.name + "\""; }

void check_type(const UsedColumn& used, const v1::ColumnProfile& column, const Profiles& accepted,
                std::vector<std::string>* reasons) {
  std::set<std::string> types;
  for (const auto& profile : accepted) {
    if (const auto* other = find_column(profile, used.name)) types.insert(other->type());
  }
  if (types.empty() || types.contains(column.type())) return;
  reasons->push_back(title(used) + " has type " + column.type() + "; accepted entries have " +
                     joined({types.begin(), types.end()}));
}

void check_missing(const UsedColumn& used, const v1::ColumnProfile& column, uint64_t rows, double share_max,
                   std::vector<std::string>* reasons) {
  double bound = share_max == 0 ? kMissingShareDefault : share_max;
  double share = static_cast<double>(column.missing()) / static_cast<double>(rows);
  if (share <= bound) return;
  reasons->push_back(title(used) + " is missing in " + std::to_string(column.missing()) + " of " +
                     counted(rows, "row") + ", a share of " + rounded_against(share, bound) + "; at most " +
                     exact(bound) + " is allowed");
}

void check_range(const UsedColumn& used, const v1::ColumnProfile& column, const Profiles& accepted, double excess_max,
                 std::vector<std::string>* reasons) {
  if (excess_max == 0 || !column.has_min() || !column.has_max()) return;
  std::optional<double> low;
  std::optional<double> high;
  for (const auto& profile : accepted) {
    const auto* other = find_column(profile, used.name);
    if (other == nullptr || !other->has_min() || !other->has_max()) continue;
    low = low ? std::min(*low, other->min()) : other->min();
    high = high ? std::max(*high, other->max()) : other->max();
  }
  if (!low || !(*high > *low)) return;
  double excess = std::max(*low - column.min(), column.max() - *high) / (*high - *low);
  if (excess <= excess_max) return;
  reasons->push_back(title(used) + " ranges from " + rounded(column.min()) + " to " + rounded(column.max()) +
                     ", outside the accepted " + rounded(*low) + " to " + rounded(*high) + " by " +
                     rounded_against(excess, excess_max) + " of its width; at most " + exact(excess_max) +
                     " is allowed");
}

void check_label(const v1::Validation& validation, const v1::Label& label, const v1::EntryProfile& profile,
                 const Profiles& accepted, std::vector<std::string>* reasons) {
  bool binary = label.task() == v1::Label::BINARY;
  double mean = profile.label().mean();
  std::string name = "label \"" + label.column() + "\"";
  if (!std::isfinite(mean)) {
    reasons->push_back(name + " has the mean " + exact(mean) + ", which is not a finite number");
    return;
  }
  if (profile.label().constant()) {
    reasons->push_back(name + " is the same in every row" + (binary ? ": the share of positives is " : ": ") +
                       rounded(mean));
    return;
  }
  double bound = validation.max_label_mean_change();
  if (!binary || bound == 0) return;
  double sum = 0;
  double rows = 0;
  for (const auto& other : accepted) {
    if (!other.has_label()) continue;
    sum += other.label().mean() * static_cast<double>(other.rows());
    rows += static_cast<double>(other.rows());
  }
  if (rows == 0) return;
  double change = std::abs(mean - sum / rows);
  if (change <= bound) return;
  reasons->push_back(name + " is positive in a share of " + rounded(mean) + "; accepted entries have " +
                     rounded(sum / rows) + ", and the difference of " + rounded_against(change, bound) + " is above " +
                     exact(bound));
}

std::optional<double> champion_metric(const v1::EntryProfile& profile, const std::string& name) {
  for (const auto& metric : profile.champion_metrics()) {
    if (metric.name() == name) return metric.value();
  }
  return {};
}

// "(accepted entries: mean 0.583, lowest 0.551)"
std::string accepted_scores(const Profiles& accepted, const std::string& metric, bool lowest) {
  double sum = 0;
  double extreme = 0;
  size_t count = 0;
  for (const auto& profile : accepted) {
    auto value = champion_metric(profile, metric);
    if (!value || !std::isfinite(*value)) continue;
    extreme = count == 0 ? *value : lowest ? std::min(extreme, *value) : std::max(extreme, *value);
    sum += *value;
    ++count;
  }
  if (count == 0) return " (no accepted entry has been scored)";
  return " (accepted entries: mean " + rounded(sum / static_cast<double>(count)) +
         (lowest ? ", lowest " : ", highest ") + rounded(extreme) + ")";
}

void check_champion(const v1::ChampionFloor& floor, const v1::EntryProfile& profile, const Profiles& accepted,
                    std::vector<std::string>* reasons) {
  if (profile.champion_version().empty()) return;
  std::string champion = "champion " + profile.champion_version();
  auto value = champion_metric(profile, floor.metric());
  if (!value) {
    if (!reasons->empty()) return;  // it could not be scored for one of them
    std::vector<std::string> names;
    for (const auto& metric : profile.champion_metrics()) names.push_back(metric.name());
    reasons->push_back(champion + " has no " + floor.metric() +
                       " on it; the inspection gave: " + (names.empty() ? "nothing" : joined(names)));
    return;
  }
  if (!std::isfinite(*value)) {
    reasons->push_back(champion + " scores " + floor.metric() + " " + exact(*value) +
                       " on it, which is not a finite number");
    return;
  }
  if (floor.has_min() && !(*value >= floor.min())) {
    reasons->push_back(champion + " scores " + floor.metric() + " " + rounded_against(*value, floor.min()) +
                       " on it; the floor is " + exact(floor.min()) + accepted_scores(accepted, floor.metric(), true));
  }
  if (floor.has_max() && !(*value <= floor.max())) {
    reasons->push_back(champion + " scores " + floor.metric() + " " + rounded_against(*value, floor.max()) +
                       " on it; the ceiling is " + exact(floor.max()) +
                       accepted_scores(accepted, floor.metric(), false));
  }
}

void check_columns(const v1::Validation& validation, const v1::TabularModel& model, const v1::EntryProfile& profile,
                   const Profiles& accepted, std::vector<std::string>* reasons) {
  bool label_is_sound = true;
  for (const auto& used : used_columns(model)) {
    const auto* column = find_column(profile, used.name);
    if (column == nullptr) {
      reasons->push_back(title(used) + " is not in the file");
      label_is_sound = label_is_sound && !used.label;
      continue;
    }
    size_t before = reasons->size();
    check_type(used, *column, accepted, reasons);
    check_missing(used, *column, profile.rows(), validation.max_missing_share(), reasons);
    if (column->non_finite() > 0) {
      reasons->push_back(title(used) + " is NaN or infinite in " + std::to_string(column->non_finite()) + " of " +
                         counted(profile.rows(), "row"));
    }
    if (reasons->size() > before) {
      label_is_sound = label_is_sound && !used.label;
    } else if (used.ranged) {
      check_range(used, *column, accepted, validation.max_range_excess(), reasons);
    }
  }
  // What follows from a broken label says nothing new.
  if (label_is_sound) check_label(validation, model.label(), profile, accepted, reasons);
}

}  // namespace

EntryJudgement judge_entry(const v1::Validation& validation, const v1::TrainStep& step, const v1::EntryProfile& profile,
                           const std::vector<v1::EntryProfile>& accepted) {
  if (!profile.error().empty()) return {false, "the file can't be read: " + profile.error()};
  uint64_t rows_min = std::max<uint64_t>(validation.min_rows(), 1);
  if (profile.rows() < rows_min) {
    return {false, "the file has " + counted(profile.rows(), "row") + "; at least " + std::to_string(rows_min) +
                       (rows_min == 1 ? " is" : " are") + " needed"};
  }
  std::vector<std::string> reasons;
  if (step.has_tabular()) check_columns(validation, step.tabular(), profile, accepted, &reasons);
  if (validation.has_champion()) {
    check_champion(validation.champion(), profile, accepted, &reasons);
  }
  return {reasons.empty(), joined(reasons, "; ")};
}

}  // namespace freshet::scheduler
