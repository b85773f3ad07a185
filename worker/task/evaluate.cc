#include "worker/task/evaluate.h"

#include <algorithm>
#include <unordered_map>

#include "worker/data/label.h"
#include "worker/data/parallel.h"
#include "worker/data/table.h"
#include "worker/metrics/scores.h"
#include "worker/task/holdout.h"

namespace freshet::worker {
namespace {

constexpr uint32_t kSlicesDefault = 10;

std::string label_title(const v1::Label& label) {
  return "'" + label.column() + "' (" + v1::Label::Task_Name(label.task()) + ")";
}

Status check_same_label(const v1::Label& candidate, const v1::Label& champion, const std::string& version) {
  if (candidate.column() == champion.column() && candidate.task() == champion.task()) return Status::ok();
  return invalid_argument("the champion " + version + " predicts " + label_title(champion) + " and the candidate " +
                          label_title(candidate) + ": they can't be compared");
}

// The labelled rows of the holdout: where they are in the table, and their labels.
struct Examined {
  std::vector<size_t> rows;
  std::vector<double> labels;
};

Result<Examined> examined_rows(const v1::Label& label, const Table& table) {
  ASSIGN_OR_RETURN(const auto labels, read_labels(label, table, nullptr));
  Examined examined;
  for (size_t row = 0; row < labels.values.size(); ++row) {
    if (!labels.valid[row]) continue;
    examined.rows.push_back(row);
    examined.labels.push_back(labels.values[row]);
  }
  if (examined.rows.empty()) {
    return invalid_argument("the holdout has no rows with a label: '" + label.column() + "' is missing in all " +
                            grouped(table.rows()));
  }
  return examined;
}

struct ModelLosses {
  v1::ModelScores scores;
  std::vector<double> losses;  // per examined row
};

Result<ModelLosses> score(const Predictor& model, const std::string& name, v1::Label::Task task, const Table& table,
                          const Examined& examined, unsigned threads) {
  ASSIGN_OR_RETURN(const auto encoded, model.transform().encode_features(table));
  ASSIGN_OR_RETURN(const auto all, model.predict(encoded, threads));
  if (all.size() != table.rows()) return internal(name + " gave another number of predictions than rows");
  std::vector<float> predictions;
  predictions.reserve(examined.rows.size());
  for (size_t row : examined.rows) predictions.push_back(all[row]);
  RETURN_IF_ERROR(check_predictions(predictions, name));
  const Scored scored{predictions, examined.labels};
  ModelLosses result;
  result.losses = row_losses(task, scored);
  for (auto& metric : all_metrics(task, scored)) *result.scores.add_metrics() = std::move(metric);
  return result;
}

// Sums the losses of a group of examined rows, in their order.
double loss_sum(const std::vector<double>& losses, const std::vector<size_t>& group) {
  std::vector<double> values;
  values.reserve(group.size());
  for (size_t at : group) values.push_back(losses[at]);
  return blocked_sum(values);
}

// Fills rows and loss sums of an EntryScores or SliceScores; `group` indexes the examined rows.
template <class Scores>
void fill_sums(const std::vector<size_t>& group, const ModelLosses& candidate, const ModelLosses* champion,
               Scores* scores) {
  scores->set_rows(group.size());
  scores->set_candidate_loss_sum(loss_sum(candidate.losses, group));
  if (champion != nullptr) scores->set_champion_loss_sum(loss_sum(champion->losses, group));
}

std::vector<std::vector<size_t>> groups_by_entry(const Table& table, const Examined& examined) {
  std::vector<std::vector<size_t>> groups(table.entries().size());
  size_t entry = 0;
  size_t end = groups.empty() ? 0 : table.entries()[0].rows;
  for (size_t at = 0; at < examined.rows.size(); ++at) {
    while (examined.rows[at] >= end) end += table.entries()[++entry].rows;
    groups[entry].push_back(at);
  }
  return groups;
}

// The value's examined rows, for the most frequent values: by rows, then by bytes. A missing value is no slice.
Result<std::vector<std::pair<std::string, std::vector<size_t>>>> largest_slices(
    const v1::SliceRequest& request, const Table& table, const std::vector<std::vector<size_t>>& by_entry,
    const Examined& examined) {
  ASSIGN_OR_RETURN(const size_t column_at, table.find({request.column(), ColumnUse::kText}));
  std::unordered_map<std::string, std::vector<size_t>> rows_of_value;
  size_t first = 0;
  for (size_t i = 0; i < by_entry.size(); ++i) {
    const auto& column = std::get<TextColumn>(table.entries()[i].columns[column_at]);
    std::vector<std::vector<size_t>*> rows_of_code;
    for (const auto& value : column.values) rows_of_code.push_back(&rows_of_value[value]);
    for (size_t at : by_entry[i]) {
      const int32_t code = column.codes[examined.rows[at] - first];
      if (code >= 0) rows_of_code[static_cast<size_t>(code)]->push_back(at);
    }
    first += table.entries()[i].rows;
  }
  std::vector<std::pair<std::string, std::vector<size_t>>> slices;
  for (auto& [value, rows] : rows_of_value) {
    if (!rows.empty()) slices.emplace_back(value, std::move(rows));
  }
  std::sort(slices.begin(), slices.end(), [](const auto& a, const auto& b) {
    return a.second.size() != b.second.size() ? a.second.size() > b.second.size() : a.first < b.first;
  });
  const size_t wanted = request.largest() == 0 ? kSlicesDefault : request.largest();
  if (slices.size() > wanted) slices.resize(wanted);
  return slices;
}

std::vector<ColumnRequest> needed_columns(const v1::EvaluateTask& task, const Predictor& candidate,
                                          const Predictor* champion) {
  auto requests = required_columns(candidate.transform().model());
  if (champion != nullptr) {
    requests = merged_requests(std::move(requests), feature_columns(champion->transform().model()));
  }
  for (const auto& slice : task.slices()) {
    requests = merged_requests(std::move(requests), {{slice.column(), ColumnUse::kText}});
  }
  return requests;
}

}  // namespace

Result<v1::EvaluationReport> evaluate(const v1::EvaluateTask& task, const Predictor& candidate,
                                      const Predictor* champion, unsigned threads) {
  ASSIGN_OR_RETURN(const auto holdout, holdout_of(task));
  const auto& label = candidate.transform().model().label();
  if (champion != nullptr) {
    RETURN_IF_ERROR(check_same_label(label, champion->transform().model().label(), task.champion_version()));
  }
  ASSIGN_OR_RETURN(const auto table, Table::read(holdout, needed_columns(task, candidate, champion), threads));
  ASSIGN_OR_RETURN(const auto examined, examined_rows(label, table));

  v1::EvaluationReport report;
  report.set_loss(label.task() == v1::Label::BINARY ? "log_loss" : "squared_error");
  report.set_rows(examined.rows.size());
  ASSIGN_OR_RETURN(const auto candidate_losses,
                   score(candidate, "the candidate", label.task(), table, examined, threads));
  *report.mutable_candidate() = candidate_losses.scores;
  report.mutable_candidate()->set_model_digest(task.candidate().digest());
  std::optional<ModelLosses> champion_losses;
  if (champion != nullptr) {
    ASSIGN_OR_RETURN(champion_losses, score(*champion, "the champion " + task.champion_version(), label.task(), table,
                                            examined, threads));
    *report.mutable_champion() = champion_losses->scores;
    report.mutable_champion()->set_model_digest(task.champion().digest());
    report.set_champion_version(task.champion_version());
  }
  const ModelLosses* compared = champion_losses ? &*champion_losses : nullptr;
  const auto by_entry = groups_by_entry(table, examined);
  for (size_t i = 0; i < by_entry.size(); ++i) {
    auto* scores = report.add_entries();
    scores->set_uri(table.entries()[i].uri);
    fill_sums(by_entry[i], candidate_losses, compared, scores);
  }
  for (const auto& request : task.slices()) {
    ASSIGN_OR_RETURN(const auto slices, largest_slices(request, table, by_entry, examined));
    for (const auto& [value, rows] : slices) {
      auto* scores = report.add_slices();
      scores->set_column(request.column());
      scores->set_value(value);
      fill_sums(rows, candidate_losses, compared, scores);
    }
  }
  return report;
}

}  // namespace freshet::worker
