#include "worker/task/inspect.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "worker/data/entry.h"
#include "worker/data/entry_file.h"
#include "worker/data/label.h"
#include "worker/data/parallel.h"
#include "worker/data/table.h"
#include "worker/metrics/scores.h"

namespace freshet::worker {
namespace {

struct Subject {
  const v1::TabularModel* recipe;
  const Predictor* champion;
  std::string champion_version;
  std::vector<ColumnRequest> recipe_columns;
  std::vector<ColumnRequest> champion_columns;  // empty without a champion

  bool is_of_recipe(const ColumnRequest& request) const {
    return std::binary_search(recipe_columns.begin(), recipe_columns.end(), request);
  }
};

// The finite numbers of a column.
class NumberProfile {
 public:
  void add(const NumberColumn& column, size_t width) {
    for (size_t i = 0; i < column.values.size(); ++i) {
      const double value = column.values[i];
      if (!column.is_valid(i / width)) continue;
      if (!std::isfinite(value)) {
        ++non_finite_;
        continue;
      }
      low_ = count_ == 0 ? value : std::min(low_, value);
      high_ = count_ == 0 ? value : std::max(high_, value);
      sum_ += value;
      ++count_;
    }
  }
  void write(v1::ColumnProfile* profile) const {
    profile->set_non_finite(non_finite_);
    if (count_ == 0) return;
    profile->set_min(low_);
    profile->set_max(high_);
    profile->set_mean(sum_ / static_cast<double>(count_));
  }

 private:
  uint64_t non_finite_ = 0, count_ = 0;
  double sum_ = 0, low_ = 0, high_ = 0;
};

class LabelValues {
 public:
  void add(const Labels& labels) {
    for (size_t row = 0; row < labels.values.size(); ++row) {
      if (!labels.valid[row]) continue;
      if (!first_) first_ = labels.values[row];
      varies_ = varies_ || labels.values[row] != *first_;
      sum_ += labels.values[row];
      ++rows_;
    }
  }
  void write(v1::EntryProfile* profile) const {
    if (rows_ == 0) return;
    profile->mutable_label()->set_mean(sum_ / static_cast<double>(rows_));
    profile->mutable_label()->set_constant(!varies_);
  }

 private:
  std::optional<double> first_;
  bool varies_ = false;
  double sum_ = 0;
  size_t rows_ = 0;
};

// What the champion makes of an entry's rows that have a label.
struct ChampionScores {
  std::vector<float> predictions;
  std::vector<double> labels;  // raw units
  std::vector<double> weights;
};

// One entry, batch after batch.
class Inspection {
 public:
  Inspection(const Subject& subject, const EntryFile& file) : subject_(subject) {
    for (const auto& request : merged_requests(subject.recipe_columns, subject.champion_columns)) {
      if (file.has_column(request.name)) requests_.push_back(request);
    }
    errors_.resize(requests_.size());
    types_.resize(requests_.size());
    missing_.resize(requests_.size());
    numbers_.resize(requests_.size());
    for (const auto& request : subject.recipe_columns) is_complete_ = is_complete_ && file.has_column(request.name);
  }

  const std::vector<ColumnRequest>& requests() const { return requests_; }
  void champion_lacks(Status missing_column) { missing_column_ = std::move(missing_column); }

  void add(const std::string& uri, const EntryFile::Rows& rows, unsigned threads) {
    std::vector<ColumnRequest> usable;
    Table::Entry entry{uri, static_cast<size_t>(rows.rows()), {}};
    rows_ += rows.rows();
    for (size_t i = 0; i < requests_.size(); ++i) {
      types_[i] = rows.type(i);
      missing_[i] += rows.missing(i);
      if (!errors_[i].is_ok()) continue;
      auto column = rows.column(i);
      errors_[i] = column.status();
      if (!column.is_ok()) continue;
      if (const auto* number = std::get_if<NumberColumn>(&*column)) {
        numbers_[i].add(*number, std::max(requests_[i].length, 1U));
      }
      usable.push_back(requests_[i]);
      entry.columns.push_back(std::move(column).value());
    }
    std::vector<Table::Entry> entries;
    entries.push_back(std::move(entry));
    examine(Table(std::move(usable), std::move(entries)), threads);
  }

  void write(v1::EntryProfile* profile) const {
    profile->set_rows(rows_);
    bool is_sound = is_complete_;
    for (size_t i = 0; i < requests_.size(); ++i) {
      if (!subject_.is_of_recipe(requests_[i])) continue;
      write_column(i, profile);
      if (!errors_[i].is_ok() && profile->error().empty()) profile->set_error(errors_[i].message());
    }
    for (const auto& column : profile->columns()) is_sound = is_sound && column.non_finite() == 0;
    if (!is_sound || !profile->error().empty()) return;
    if (!label_status_.is_ok()) return profile->set_error(label_status_.message());
    label_.write(profile);
    if (subject_.champion == nullptr || !profile->has_label()) return;
    if (Status status = champion_status(); !status.is_ok()) {
      profile->set_error("the champion " + subject_.champion_version + " can't be scored on it: " + status.message());
    } else if (has_scored_rows()) {
      profile->set_champion_version(subject_.champion_version);
      for (auto& metric : all_metrics(subject_.champion->transform().model().label().task(),
                                      {champion_.predictions, champion_.labels, champion_.weights})) {
        *profile->add_champion_metrics() = std::move(metric);
      }
    }
  }

 private:
  void write_column(size_t i, v1::EntryProfile* profile) const {
    // A column in two uses has one profile; requests are sorted, so its uses follow each other.
    auto* last = profile->columns().empty() ? nullptr : profile->mutable_columns(profile->columns_size() - 1);
    auto* column = last != nullptr && last->name() == requests_[i].name ? last : profile->add_columns();
    column->set_name(requests_[i].name);
    column->set_type(types_[i]);
    column->set_missing(missing_[i]);
    const bool is_number = requests_[i].use == ColumnUse::kNumber || requests_[i].use == ColumnUse::kNumberList;
    if (is_number && errors_[i].is_ok()) numbers_[i].write(column);
  }

  void examine(const Table& batch, unsigned threads) {
    if (label_status_.is_ok() && batch.find(label_request(subject_.recipe->label())).is_ok()) {
      auto labels = read_labels(subject_.recipe->label(), batch, nullptr);
      label_status_ = labels.status();
      if (labels.is_ok()) label_.add(*labels);
    }
    if (subject_.champion != nullptr && score_status_.is_ok()) score_status_ = score(batch, threads);
  }

  Status score(const Table& batch, unsigned threads) {
    for (const auto& request : subject_.champion_columns) {
      const auto at = std::find(requests_.begin(), requests_.end(), request);
      if (at == requests_.end()) return Status::ok();  // see champion_status()
      RETURN_IF_ERROR(errors_[static_cast<size_t>(at - requests_.begin())]);
    }
    const auto& transform = subject_.champion->transform();
    ASSIGN_OR_RETURN(const EncodedRows rows, transform.encode(batch));
    ASSIGN_OR_RETURN(const auto labels, transform.labels(batch));
    for (size_t row = 0; row < labels.values.size(); ++row) {
      if (labels.valid[row]) champion_.labels.push_back(labels.values[row]);
    }
    champion_.weights.insert(champion_.weights.end(), rows.weight.begin(), rows.weight.end());
    ASSIGN_OR_RETURN(const auto predictions, subject_.champion->predict(rows, threads));
    RETURN_IF_ERROR(check_predictions(predictions, "it"));
    if (predictions.size() != rows.rows * std::max<size_t>(transform.classes(), 1)) {
      return internal("it gave another number of predictions than rows");
    }
    champion_.predictions.insert(champion_.predictions.end(), predictions.begin(), predictions.end());
    return Status::ok();
  }

  Status champion_status() const {
    for (const auto& request : subject_.champion_columns) {
      if (std::find(requests_.begin(), requests_.end(), request) == requests_.end()) return missing_column_;
    }
    return score_status_;
  }

  bool has_scored_rows() const {
    if (champion_.labels.empty()) return false;
    auto counts = [](double weight) { return weight > 0; };
    return champion_.weights.empty() || std::any_of(champion_.weights.begin(), champion_.weights.end(), counts);
  }

  const Subject& subject_;
  std::vector<ColumnRequest> requests_;  // those whose columns the file has
  std::vector<Status> errors_;           // per request
  std::vector<std::string> types_;
  std::vector<uint64_t> missing_;
  std::vector<NumberProfile> numbers_;
  bool is_complete_ = true;  // the file has all columns of the recipe
  uint64_t rows_ = 0;
  LabelValues label_;
  Status label_status_, score_status_, missing_column_;
  ChampionScores champion_;
};

Status inspect_file(const EntryFile& file, const v1::DatasetEntry& entry, const Subject& subject, unsigned threads,
                    v1::EntryProfile* profile) {
  Inspection inspection(subject, file);
  if (subject.champion != nullptr) inspection.champion_lacks(file.check_columns(subject.champion_columns));
  for (size_t part = 0; part < file.parts(); ++part) {
    ASSIGN_OR_RETURN(auto rows, file.read(part, inspection.requests()));
    while (true) {
      ASSIGN_OR_RETURN(const bool has_more, rows.next());
      if (!has_more) break;
      inspection.add(entry.uri(), rows, threads);
    }
  }
  inspection.write(profile);
  return Status::ok();
}

v1::EntryProfile inspect_entry(const std::filesystem::path& directory, const v1::DatasetEntry& entry,
                               const Subject& subject, unsigned threads) {
  v1::EntryProfile profile;
  const std::vector<std::string> header(subject.recipe->column_names().begin(), subject.recipe->column_names().end());
  auto file = EntryFile::open(directory, entry, header);
  Status status = file.status();
  if (file.is_ok()) status = inspect_file(*file, entry, subject, threads, &profile);
  if (!status.is_ok()) profile.set_error(status.message());
  return profile;
}

}  // namespace

Result<v1::InspectionReport> inspect(const v1::InspectTask& task, const Predictor* champion, unsigned threads) {
  ASSIGN_OR_RETURN(const auto directory, source_directory(task.data().source_uri()));
  Subject subject{
      &task.step().tabular(), champion, task.champion_version(), required_columns(task.step().tabular()), {}};
  if (champion != nullptr) subject.champion_columns = required_columns(champion->transform().model());

  // Files are spread over the threads; with a champion it is the rows of one file that are.
  std::vector<v1::EntryProfile> profiles(static_cast<size_t>(task.data().entries_size()));
  const unsigned at_a_time = champion == nullptr ? threads : 1;
  RETURN_IF_ERROR(for_each_index(profiles.size(), at_a_time, [&](size_t index) {
    profiles[index] = inspect_entry(directory, task.data().entries(static_cast<int>(index)), subject, threads);
    return Status::ok();
  }));
  v1::InspectionReport report;
  for (auto& profile : profiles) *report.add_profiles() = std::move(profile);
  return report;
}

}  // namespace freshet::worker
