#include "worker/metrics/scores.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace freshet::worker {
namespace {

constexpr size_t kBlock = 4096;
constexpr size_t kCalibrationBins = 10;

struct Ranked {
  float prediction;
  float label;
  float weight;
};

double weight_of(const Scored& scored, size_t row) { return scored.weights.empty() ? 1 : scored.weights[row]; }

std::vector<Ranked> ranked(const Scored& scored) {
  std::vector<Ranked> rows(scored.predictions.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = {scored.predictions[i], static_cast<float>(scored.labels[i]), static_cast<float>(weight_of(scored, i))};
  }
  std::sort(rows.begin(), rows.end(), [](const Ranked& a, const Ranked& b) { return a.prediction < b.prediction; });
  return rows;
}

// Calls visit(first, last) for each run of equal predictions.
template <class Visit>
void for_each_tie(const std::vector<Ranked>& rows, Visit visit) {
  for (size_t first = 0; first < rows.size();) {
    size_t last = first + 1;
    while (last < rows.size() && rows[last].prediction == rows[first].prediction) ++last;
    visit(first, last);
    first = last;
  }
}

// Counts twice the ordered pairs, so that a tie's half stays a whole number and the result is exact where rows have no
// weights. Count: of rows or of weights.
template <class Count>
std::optional<double> auc_of(const std::vector<Ranked>& rows) {
  Count negatives = 0;
  Count positives = 0;
  Count twice_ordered = 0;
  for_each_tie(rows, [&](size_t first, size_t last) {
    Count positives_here = 0;
    Count negatives_here = 0;
    for (size_t i = first; i < last; ++i) {
      (rows[i].label > 0 ? positives_here : negatives_here) += static_cast<Count>(rows[i].weight);
    }
    twice_ordered += positives_here * (2 * negatives + negatives_here);
    negatives += negatives_here;
    positives += positives_here;
  });
  if (negatives == 0 || positives == 0) return std::nullopt;
  return static_cast<double>(twice_ordered) / (2.0 * static_cast<double>(negatives) * static_cast<double>(positives));
}

std::optional<double> auc_of(const std::vector<Ranked>& rows, bool weighted) {
  return weighted ? auc_of<double>(rows) : auc_of<uint64_t>(rows);
}

double probability(float logit) { return 1 / (1 + std::exp(-static_cast<double>(logit))); }

// Where a bin begins: at a row, or at a sum of weights.
double bin_begin(double total, size_t bin, bool weighted) {
  const double begin = total * static_cast<double>(bin) / kCalibrationBins;
  return weighted ? begin : std::floor(begin);
}

double calibration_error_of(const std::vector<Ranked>& rows, bool weighted) {
  std::vector<double> rates(rows.size());
  double total = 0;
  for_each_tie(rows, [&](size_t first, size_t last) {
    double positives = 0, count = 0;
    for (size_t i = first; i < last; ++i) {
      positives += static_cast<double>(rows[i].weight) * static_cast<double>(rows[i].label);
      count += static_cast<double>(rows[i].weight);
    }
    total += count;
    std::fill(rates.begin() + static_cast<ptrdiff_t>(first), rates.begin() + static_cast<ptrdiff_t>(last),
              count > 0 ? positives / count : 0);
  });
  double error = 0, before = 0;
  size_t i = 0;
  for (size_t bin = 0; bin < kCalibrationBins; ++bin) {
    double difference = 0;
    const bool is_last = bin + 1 == kCalibrationBins;
    for (; i < rows.size() && (is_last || before < bin_begin(total, bin + 1, weighted)); ++i) {
      const auto weight = static_cast<double>(rows[i].weight);
      difference += weight * (probability(rows[i].prediction) - rates[i]);
      before += weight;
    }
    error += std::abs(difference);
  }
  return error / total;
}

// The weighted mean of value(i) over all rows.
template <class Value>
double mean_of(const Scored& scored, Value value) {
  std::vector<double> values(scored.labels.size());
  for (size_t i = 0; i < values.size(); ++i) values[i] = weight_of(scored, i) * value(i);
  const double total = scored.weights.empty() ? static_cast<double>(values.size()) : blocked_sum(scored.weights);
  return blocked_sum(values) / total;
}

double squared(double value) { return value * value; }

double residual(const Scored& scored, size_t i) {
  return static_cast<double>(scored.predictions[i]) - scored.labels[i];
}

// log(1 + exp(-margin)) without overflow, where the margin is the logit towards the right side.
double log_loss(float logit, double label) {
  const double margin = label > 0 ? static_cast<double>(logit) : -static_cast<double>(logit);
  return std::max(-margin, 0.0) + std::log1p(std::exp(-std::abs(margin)));
}

std::span<const float> logits_of(const Scored& scored, size_t row) {
  const size_t classes = scored.predictions.size() / scored.labels.size();
  return scored.predictions.subspan(row * classes, classes);
}

// log(sum of exp(logits)) - the logit of the class, without overflow.
double class_log_loss(std::span<const float> logits, double label) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return std::log(sum) + largest - static_cast<double>(logits[static_cast<size_t>(label)]);
}

double loss_of(v1::Label::Task task, const Scored& scored, size_t row) {
  switch (task) {
    case v1::Label::BINARY:
      return log_loss(scored.predictions[row], scored.labels[row]);
    case v1::Label::MULTICLASS:
      return class_log_loss(logits_of(scored, row), scored.labels[row]);
    default:
      return squared(residual(scored, row));
  }
}

}  // namespace

double blocked_sum(std::span<const double> values) {
  double total = 0;
  for (size_t first = 0; first < values.size(); first += kBlock) {
    double block = 0;
    for (double value : values.subspan(first, std::min(kBlock, values.size() - first))) block += value;
    total += block;
  }
  return total;
}

Status check_predictions(std::span<const float> predictions, const std::string& model) {
  const auto count = std::count_if(predictions.begin(), predictions.end(), [](float p) { return !std::isfinite(p); });
  if (count == 0) return Status::ok();
  return invalid_argument(model + " predicts NaN or infinite values for " + std::to_string(count) + " of " +
                          std::to_string(predictions.size()) + " rows");
}

std::vector<double> row_losses(v1::Label::Task task, const Scored& scored) {
  std::vector<double> losses(scored.labels.size());
  for (size_t i = 0; i < losses.size(); ++i) losses[i] = loss_of(task, scored, i);
  return losses;
}

std::optional<double> auc(const Scored& scored) { return auc_of(ranked(scored), !scored.weights.empty()); }

double calibration_error(const Scored& scored) { return calibration_error_of(ranked(scored), !scored.weights.empty()); }

double accuracy(const Scored& scored) {
  return mean_of(scored, [&](size_t i) { return (scored.predictions[i] > 0) == (scored.labels[i] > 0) ? 1.0 : 0.0; });
}

double class_accuracy(const Scored& scored) {
  return mean_of(scored, [&](size_t i) {
    const auto logits = logits_of(scored, i);
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    return static_cast<double>(best) == scored.labels[i] ? 1.0 : 0.0;
  });
}

double root_mean_squared_error(const Scored& scored) {
  return std::sqrt(mean_of(scored, [&](size_t i) { return squared(residual(scored, i)); }));
}

double mean_absolute_error(const Scored& scored) {
  return mean_of(scored, [&](size_t i) { return std::abs(residual(scored, i)); });
}

std::optional<double> r_squared(const Scored& scored) {
  const double mean = mean_of(scored, [&](size_t i) { return scored.labels[i]; });
  const double variance = mean_of(scored, [&](size_t i) { return squared(scored.labels[i] - mean); });
  if (variance == 0) return std::nullopt;
  return 1 - mean_of(scored, [&](size_t i) { return squared(residual(scored, i)); }) / variance;
}

std::vector<v1::Metric> all_metrics(v1::Label::Task task, const Scored& scored) {
  std::vector<v1::Metric> metrics;
  auto add = [&metrics](const char* name, std::optional<double> value) {
    if (!value) return;
    auto& metric = metrics.emplace_back();
    metric.set_name(name);
    metric.set_value(*value);
  };
  auto mean_loss = [&] { return mean_of(scored, [&](size_t i) { return loss_of(task, scored, i); }); };
  if (task == v1::Label::BINARY) {
    const auto rows = ranked(scored);
    const bool weighted = !scored.weights.empty();
    add("auc", auc_of(rows, weighted));
    add("log_loss", mean_loss());
    add("calibration_error", calibration_error_of(rows, weighted));
    add("accuracy", accuracy(scored));
  } else if (task == v1::Label::MULTICLASS) {
    add("log_loss", mean_loss());
    add("accuracy", class_accuracy(scored));
  } else {
    add("rmse", root_mean_squared_error(scored));
    add("mae", mean_absolute_error(scored));
    add("r2", r_squared(scored));
  }
  return metrics;
}

}  // namespace freshet::worker
