#include "worker/task/evaluate.h"

#include <algorithm>
#include <unordered_map>

#include "base/log.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/data/label.h"
#include "worker/data/table.h"
#include "worker/data/table_stream.h"
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

// A model and what it makes of the examined rows.
struct Judged {
  const Predictor& model;
  std::string name;
  std::vector<double> labels;  // the candidate's, but for classes, which each model numbers itself
  std::vector<float> predictions;
  std::vector<double> losses;

  size_t width() const { return std::max<size_t>(model.transform().classes(), 1); }
};

// The values of a column that slices are made of.
struct SliceColumn {
  std::string name;
  std::vector<std::string> values;
  std::unordered_map<std::string, int32_t> codes;
  std::vector<int32_t> rows;  // per examined row; -1: missing

  void add(const TextColumn& column, const std::vector<size_t>& examined) {
    std::vector<int32_t> of_value;
    for (const auto& value : column.values) {
      auto [at, is_new] = codes.try_emplace(value, static_cast<int32_t>(values.size()));
      if (is_new) values.push_back(value);
      of_value.push_back(at->second);
    }
    for (size_t row : examined) {
      const int32_t code = column.codes[row];
      rows.push_back(code < 0 ? code : of_value[static_cast<size_t>(code)]);
    }
  }
};

// The rows of the holdout that have a label, of a class that both models know, as they come in batches.
class Examination {
 public:
  Examination(const v1::EvaluateTask& task, const Predictor& candidate, const Predictor* champion, unsigned threads)
      : label_(candidate.transform().model().label()), threads_(threads) {
    judged_.push_back({candidate, "the candidate", {}, {}, {}});
    if (champion != nullptr) judged_.push_back({*champion, "the champion " + task.champion_version(), {}, {}, {}});
    for (const auto& slice : task.slices()) slices_.push_back({slice.column(), {}, {}, {}});
  }

  Status add(size_t entry, const Table& batch) {
    ASSIGN_OR_RETURN(const auto labels, labels_of(batch));
    std::vector<size_t> examined;
    for (size_t row = 0; row < batch.rows(); ++row) {
      if (std::all_of(labels.begin(), labels.end(), [row](const Labels& of) { return of.valid[row] != 0; })) {
        examined.push_back(row);
      } else if (std::any_of(labels.begin(), labels.end(), [](const Labels& of) { return of.unknown > 0; })) {
        ++not_comparable_;
      }
    }
    rows_ += batch.rows();
    entries_.insert(entries_.end(), examined.size(), entry);
    ASSIGN_OR_RETURN(const auto weights, read_weights(judged_[0].model.transform().model(), batch));
    for (size_t row : examined) {
      if (!weights.empty()) weights_.push_back(weights[row]);
    }
    for (size_t i = 0; i < judged_.size(); ++i) RETURN_IF_ERROR(predict(batch, labels[i], examined, &judged_[i]));
    for (auto& slice : slices_) {
      ASSIGN_OR_RETURN(const size_t at, batch.find({slice.name, ColumnUse::kText}));
      slice.add(std::get<TextColumn>(batch.entries()[0].columns[at]), examined);
    }
    return Status::ok();
  }

  // After all batches.
  Status finish() {
    if (entries_.empty()) {
      return invalid_argument("the holdout has no rows with a label: '" + label_.column() + "' is missing " +
                              (not_comparable_ > 0 ? "or of a class that a model does not know " : "") + "in all " +
                              grouped(rows_));
    }
    if (not_comparable_ > 0) {
      log_warning("evaluate", grouped(not_comparable_) + " of " + grouped(rows_) + " rows are left out: '" +
                                  label_.column() + "' is of a class that a model does not know, or missing");
    }
    if (!weights_.empty()) {
      const double mean = blocked_sum(weights_) / static_cast<double>(weights_.size());
      if (!(mean > 0)) return invalid_argument("the holdout's rows all have the weight 0");
      for (double& weight : weights_) weight /= mean;
    }
    for (auto& judged : judged_) {
      judged.losses = row_losses(label_.task(), scored(judged));
      for (size_t i = 0; i < weights_.size(); ++i) judged.losses[i] *= weights_[i];
    }
    return Status::ok();
  }

  size_t rows() const { return entries_.size(); }
  const std::vector<Judged>& judged() const { return judged_; }
  const std::vector<size_t>& entries() const { return entries_; }  // per examined row
  const std::vector<SliceColumn>& slices() const { return slices_; }
  Scored scored(const Judged& judged) const { return {judged.predictions, judged.labels, weights_}; }

 private:
  Result<std::vector<Labels>> labels_of(const Table& batch) const {
    std::vector<Labels> labels;
    for (const auto& judged : judged_) {
      if (label_.task() == v1::Label::MULTICLASS || labels.empty()) {
        ASSIGN_OR_RETURN(labels.emplace_back(), judged.model.transform().labels(batch));
      } else {
        labels.push_back(labels[0]);
      }
    }
    return labels;
  }

  Status predict(const Table& batch, const Labels& labels, const std::vector<size_t>& examined, Judged* judged) const {
    ASSIGN_OR_RETURN(const auto encoded, judged->model.transform().encode_features(batch));
    ASSIGN_OR_RETURN(const auto all, judged->model.predict(encoded, threads_));
    const size_t width = judged->width();
    if (all.size() != batch.rows() * width) {
      return internal(judged->name + " gave another number of predictions than rows");
    }
    for (size_t row : examined) {
      judged->labels.push_back(labels.values[row]);
      const auto first = all.begin() + static_cast<ptrdiff_t>(row * width);
      judged->predictions.insert(judged->predictions.end(), first, first + static_cast<ptrdiff_t>(width));
    }
    return Status::ok();
  }

  const v1::Label& label_;
  const unsigned threads_;
  std::vector<Judged> judged_;  // the candidate, then the champion if there is one
  std::vector<size_t> entries_;
  std::vector<double> weights_;  // empty: all count the same; at the end their mean is 1
  std::vector<SliceColumn> slices_;
  size_t rows_ = 0, not_comparable_ = 0;
};

v1::ModelScores scores_of(v1::Label::Task task, const Scored& scored, const std::string& digest) {
  v1::ModelScores scores;
  scores.set_model_digest(digest);
  *scores.mutable_numerics() = platform_fingerprint();
  for (auto& metric : all_metrics(task, scored)) *scores.add_metrics() = std::move(metric);
  return scores;
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
void fill_sums(const std::vector<size_t>& group, const Examination& examination, Scores* scores) {
  const auto& judged = examination.judged();
  scores->set_rows(group.size());
  scores->set_candidate_loss_sum(loss_sum(judged[0].losses, group));
  if (judged.size() > 1) scores->set_champion_loss_sum(loss_sum(judged[1].losses, group));
}

// The value's examined rows, for the most frequent values: by rows, then by bytes. A missing value is no slice.
std::vector<std::pair<std::string, std::vector<size_t>>> largest_slices(const SliceColumn& column, size_t wanted) {
  std::vector<std::vector<size_t>> rows_of_code(column.values.size());
  for (size_t at = 0; at < column.rows.size(); ++at) {
    if (column.rows[at] >= 0) rows_of_code[static_cast<size_t>(column.rows[at])].push_back(at);
  }
  std::vector<std::pair<std::string, std::vector<size_t>>> slices;
  for (size_t code = 0; code < rows_of_code.size(); ++code) {
    if (!rows_of_code[code].empty()) slices.emplace_back(column.values[code], std::move(rows_of_code[code]));
  }
  std::sort(slices.begin(), slices.end(), [](const auto& a, const auto& b) {
    return a.second.size() != b.second.size() ? a.second.size() > b.second.size() : a.first < b.first;
  });
  if (slices.size() > wanted) slices.resize(wanted);
  return slices;
}

ColumnSet needed_columns(const v1::EvaluateTask& task, const Predictor& candidate, const Predictor* champion) {
  ColumnSet columns = training_columns(candidate.transform().model());
  if (champion != nullptr) {
    columns.requests = merged_requests(std::move(columns.requests), feature_columns(champion->transform().model()));
  }
  for (const auto& slice : task.slices()) {
    columns.requests = merged_requests(std::move(columns.requests), {{slice.column(), ColumnUse::kText}});
  }
  return columns;
}

}  // namespace

Result<v1::EvaluationReport> evaluate(const v1::EvaluateTask& task, const Predictor& candidate,
                                      const Predictor* champion, unsigned threads) {
  ASSIGN_OR_RETURN(const auto holdout, holdout_of(task));
  const auto& label = candidate.transform().model().label();
  if (champion != nullptr) {
    RETURN_IF_ERROR(check_same_label(label, champion->transform().model().label(), task.champion_version()));
  }
  ASSIGN_OR_RETURN(const auto stream, TableStream::open(holdout, needed_columns(task, candidate, champion), threads));
  Examination examination(task, candidate, champion, threads);
  // The models spread the rows of a batch over the threads themselves.
  RETURN_IF_ERROR(stream.for_each(
      1, [&](size_t part, const Table& batch) { return examination.add(stream.entry_of(part), batch); }));
  RETURN_IF_ERROR(examination.finish());

  v1::EvaluationReport report;
  report.set_loss(label.task() == v1::Label::REGRESSION ? "squared_error" : "log_loss");
  report.set_rows(examination.rows());
  const auto& judged = examination.judged();
  for (const auto& each : judged) RETURN_IF_ERROR(check_predictions(each.predictions, each.name));
  *report.mutable_candidate() = scores_of(label.task(), examination.scored(judged[0]), task.candidate().digest());
  if (champion != nullptr) {
    *report.mutable_champion() = scores_of(label.task(), examination.scored(judged[1]), task.champion().digest());
    report.set_champion_version(task.champion_version());
  }
  std::vector<std::vector<size_t>> by_entry(static_cast<size_t>(holdout.entries_size()));
  for (size_t at = 0; at < examination.rows(); ++at) by_entry[examination.entries()[at]].push_back(at);
  for (size_t i = 0; i < by_entry.size(); ++i) {
    auto* scores = report.add_entries();
    scores->set_uri(holdout.entries(static_cast<int>(i)).uri());
    fill_sums(by_entry[i], examination, scores);
  }
  for (int i = 0; i < task.slices_size(); ++i) {
    const uint32_t wanted = task.slices(i).largest() == 0 ? kSlicesDefault : task.slices(i).largest();
    for (const auto& [value, rows] : largest_slices(examination.slices()[static_cast<size_t>(i)], wanted)) {
      auto* scores = report.add_slices();
      scores->set_column(task.slices(i).column());
      scores->set_value(value);
      fill_sums(rows, examination, scores);
    }
  }
  return report;
}

}  // namespace freshet::worker
