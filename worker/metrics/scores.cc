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
};

std::vector<Ranked> ranked(const Scored& scored) {
  std::vector<Ranked> rows(scored.predictions.size());
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = {scored.predictions[i], static_cast<float>(scored.labels[i])};
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

// Counts twice the ordered pairs, so that a tie's half stays a whole number and the result is exact.
std::optional<double> auc_of(const std::vector<Ranked>& rows) {
  uint64_t negatives = 0;
  uint64_t positives = 0;
  uint64_t twice_ordered = 0;
  for_each_tie(rows, [&](size_t first, size_t last) {
    uint64_t positives_here = 0;
    for (size_t i = first; i < last; ++i) positives_here += rows[i].label > 0 ? 1 : 0;
    const uint64_t negatives_here = last - first - positives_here;
    twice_ordered += positives_here * (2 * negatives + negatives_here);
    negatives += negatives_here;
    positives += positives_here;
  });
  if (negatives == 0 || positives == 0) return std::nullopt;
  return static_cast<double>(twice_ordered) / (2.0 * static_cast<double>(negatives) * static_cast<double>(positives));
}

double probability(float logit) { return 1 / (1 + std::exp(-static_cast<double>(logit))); }

double calibration_error_of(const std::vector<Ranked>& rows) {
  std::vector<double> rates(rows.size());
  for_each_tie(rows, [&](size_t first, size_t last) {
    double positives = 0;
    for (size_t i = first; i < last; ++i) positives += rows[i].label;
    std::fill(rates.begin() + static_cast<ptrdiff_t>(first), rates.begin() + static_cast<ptrdiff_t>(last),
              positives / static_cast<double>(last - first));
  });
  double error = 0;
  for (size_t bin = 0; bin < kCalibrationBins; ++bin) {
    double difference = 0;
    for (size_t i = rows.size() * bin / kCalibrationBins; i < rows.size() * (bin + 1) / kCalibrationBins; ++i) {
      difference += probability(rows[i].prediction) - rates[i];
    }
    error += std::abs(difference);
  }
  return error / static_cast<double>(rows.size());
}

// The mean of value(i) over all rows.
template <class Value>
double mean_of(const Scored& scored, Value value) {
  std::vector<double> values(scored.predictions.size());
  for (size_t i = 0; i < values.size(); ++i) values[i] = value(i);
  return blocked_sum(values) / static_cast<double>(values.size());
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
  std::vector<double> losses(scored.predictions.size());
  for (size_t i = 0; i < losses.size(); ++i) {
    losses[i] =
        task == v1::Label::BINARY ? log_loss(scored.predictions[i], scored.labels[i]) : squared(residual(scored, i));
  }
  return losses;
}

std::optional<double> auc(const Scored& scored) { return auc_of(ranked(scored)); }

double calibration_error(const Scored& scored) { return calibration_error_of(ranked(scored)); }

double accuracy(const Scored& scored) {
  return mean_of(scored, [&](size_t i) { return (scored.predictions[i] > 0) == (scored.labels[i] > 0) ? 1.0 : 0.0; });
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
  if (task == v1::Label::BINARY) {
    const auto rows = ranked(scored);
    add("auc", auc_of(rows));
    add("log_loss", mean_of(scored, [&](size_t i) { return log_loss(scored.predictions[i], scored.labels[i]); }));
    add("calibration_error", calibration_error_of(rows));
    add("accuracy", accuracy(scored));
  } else {
    add("rmse", root_mean_squared_error(scored));
    add("mae", mean_absolute_error(scored));
    add("r2", r_squared(scored));
  }
  return metrics;
}

}  // namespace freshet::worker
