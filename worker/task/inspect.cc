#include "worker/task/inspect.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "worker/data/entry.h"
#include "worker/data/label.h"
#include "worker/data/parallel.h"
#include "worker/data/table.h"
#include "worker/metrics/scores.h"

namespace freshet::worker {
namespace {

// What the champion predicts on, and what it is measured against; absent when the file doesn't allow it.
struct Scorable {
  EncodedRows rows;
  std::vector<double> labels;  // raw units, of the rows that have one, like `rows`
};

struct Inspected {
  v1::EntryProfile profile;
  std::optional<Scorable> scorable;
};

struct Subject {
  const v1::TabularModel* recipe;
  const Predictor* champion;
  std::string champion_version;
  std::vector<ColumnRequest> recipe_columns;
  std::vector<ColumnRequest> champion_columns;  // empty without a champion
};

void profile_numbers(const NumberColumn& column, v1::ColumnProfile* profile) {
  uint64_t non_finite = 0;
  uint64_t count = 0;
  double sum = 0;
  double low = 0;
  double high = 0;
  for (size_t row = 0; row < column.values.size(); ++row) {
    const double value = column.values[row];
    if (!column.is_valid(row)) continue;
    if (!std::isfinite(value)) {
      ++non_finite;
      continue;
    }
    low = count == 0 ? value : std::min(low, value);
    high = count == 0 ? value : std::max(high, value);
    sum += value;
    ++count;
  }
  profile->set_non_finite(non_finite);
  if (count == 0) return;
  profile->set_min(low);
  profile->set_max(high);
  profile->set_mean(sum / static_cast<double>(count));
}

void profile_label(const Labels& labels, v1::LabelProfile* profile) {
  double sum = 0;
  size_t rows = 0;
  std::optional<double> first;
  bool varies = false;
  for (size_t row = 0; row < labels.values.size(); ++row) {
    if (!labels.valid[row]) continue;
    if (!first) first = labels.values[row];
    varies = varies || labels.values[row] != *first;
    sum += labels.values[row];
    ++rows;
  }
  profile->set_mean(sum / static_cast<double>(rows));
  profile->set_constant(!varies);
}

// The columns of the recipe and the champion that the file gives, as a table of this one entry. Fills the profile's
// columns; its error is the first column of the recipe that is there but can't be used.
Table read_table(const EntryFile& file, const std::string& uri, const Subject& subject, v1::EntryProfile* profile) {
  std::vector<ColumnRequest> requests;
  Table::Entry entry{uri, static_cast<size_t>(file.rows()), {}};
  for (const auto& request : merged_requests(subject.recipe_columns, subject.champion_columns)) {
    if (!file.has_column(request.name)) continue;
    auto column = file.read(request);
    const bool is_used = std::binary_search(subject.recipe_columns.begin(), subject.recipe_columns.end(), request);
    if (is_used) {
      // A column in two uses has one profile; requests are sorted, so its uses follow each other.
      auto* last = profile->columns().empty() ? nullptr : profile->mutable_columns(profile->columns_size() - 1);
      auto* target = last != nullptr && last->name() == request.name ? last : profile->add_columns();
      target->set_name(request.name);
      if (auto raw = file.describe(request); raw.is_ok()) {
        target->set_type(raw->type);
        target->set_missing(raw->missing);
      }
      if (column.is_ok() && request.use == ColumnUse::kNumber) {
        profile_numbers(std::get<NumberColumn>(*column), target);
      }
      if (!column.is_ok() && profile->error().empty()) profile->set_error(column.status().message());
    }
    if (!column.is_ok()) continue;
    requests.push_back(request);
    entry.columns.push_back(std::move(column).value());
  }
  std::vector<Table::Entry> entries;
  entries.push_back(std::move(entry));
  return Table(std::move(requests), std::move(entries));
}

// Whether all that the recipe needs is there and finite; what isn't is named by the profile already.
bool is_sound(const EntryFile& file, const Subject& subject, const v1::EntryProfile& profile) {
  auto is_present = [&file](const ColumnRequest& request) { return file.has_column(request.name); };
  auto is_finite = [](const v1::ColumnProfile& column) { return column.non_finite() == 0; };
  return profile.error().empty() &&
         std::all_of(subject.recipe_columns.begin(), subject.recipe_columns.end(), is_present) &&
         std::all_of(profile.columns().begin(), profile.columns().end(), is_finite);
}

Result<Scorable> prepare(const EntryFile& file, const Table& table, const Subject& subject) {
  for (const auto& request : subject.champion_columns) {
    if (table.find(request).is_ok()) continue;
    // It is missing or of the wrong type: reading it again says which.
    RETURN_IF_ERROR(file.read(request).status());
  }
  const auto& transform = subject.champion->transform();
  Scorable scorable;
  ASSIGN_OR_RETURN(scorable.rows, transform.encode(table));
  ASSIGN_OR_RETURN(const auto labels, transform.labels(table));
  for (size_t row = 0; row < labels.values.size(); ++row) {
    if (labels.valid[row]) scorable.labels.push_back(labels.values[row]);
  }
  return scorable;
}

std::string cannot_score(const Subject& subject, const Status& why) {
  return "the champion " + subject.champion_version + " can't be scored on it: " + why.message();
}

Inspected inspect_entry(const std::filesystem::path& directory, const v1::DatasetEntry& entry, const Subject& subject) {
  Inspected result;
  auto& profile = result.profile;
  auto file = EntryFile::open(directory, entry, merged_requests(subject.recipe_columns, subject.champion_columns));
  if (!file.is_ok()) {
    profile.set_error(file.status().message());
    return result;
  }
  profile.set_rows(file->rows());
  const Table table = read_table(*file, entry.uri(), subject, &profile);
  if (!is_sound(*file, subject, profile)) return result;
  auto labels = read_labels(subject.recipe->label(), table, nullptr);
  if (!labels.is_ok()) {
    profile.set_error(labels.status().message());
    return result;
  }
  if (labels->missing == labels->values.size()) return result;
  profile_label(*labels, profile.mutable_label());
  if (subject.champion == nullptr) return result;
  auto scorable = prepare(*file, table, subject);
  if (scorable.is_ok()) {
    result.scorable = std::move(scorable).value();
  } else {
    profile.set_error(cannot_score(subject, scorable.status()));
  }
  return result;
}

void score_champion(const Subject& subject, const Scorable& scorable, unsigned threads, v1::EntryProfile* profile) {
  profile->set_champion_version(subject.champion_version);
  auto predictions = subject.champion->predict(scorable.rows, threads);
  Status status = predictions.is_ok() ? check_predictions(*predictions, "it") : predictions.status();
  if (status.is_ok() && predictions->size() != scorable.labels.size()) {
    status = internal("it gave another number of predictions than rows");
  }
  if (!status.is_ok()) {
    profile->set_error(cannot_score(subject, status));
    return;
  }
  for (auto& metric :
       all_metrics(subject.champion->transform().model().label().task(), {*predictions, scorable.labels})) {
    *profile->add_champion_metrics() = std::move(metric);
  }
}

}  // namespace

Result<v1::InspectionReport> inspect(const v1::InspectTask& task, const Predictor* champion, unsigned threads) {
  ASSIGN_OR_RETURN(const auto directory, source_directory(task.data().source_uri()));
  Subject subject{
      &task.step().tabular(), champion, task.champion_version(), required_columns(task.step().tabular()), {}};
  if (champion != nullptr) subject.champion_columns = required_columns(champion->transform().model());

  std::vector<Inspected> inspected(static_cast<size_t>(task.data().entries_size()));
  RETURN_IF_ERROR(for_each_index(inspected.size(), threads, [&](size_t index) {
    inspected[index] = inspect_entry(directory, task.data().entries(static_cast<int>(index)), subject);
    return Status::ok();
  }));
  v1::InspectionReport report;
  // The model spreads one entry's rows over the threads itself.
  for (auto& entry : inspected) {
    if (entry.scorable && entry.scorable->rows.rows > 0) {
      score_champion(subject, *entry.scorable, threads, &entry.profile);
    }
    *report.add_profiles() = std::move(entry.profile);
  }
  return report;
}

}  // namespace freshet::worker
