// What a model's predictions are worth against the labels. Pure; any thread. Sums are in double precision over fixed
// blocks of rows, so the same rows give the same bits; predictions and labels must be finite (check_predictions).
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/status.h"
#include "proto/dataset.pb.h"
#include "proto/recipe.pb.h"

namespace freshet::worker {

// The predictions of a Predictor and the labels of the same rows. BINARY: logits, and 0 or 1. REGRESSION: raw units.
// MULTICLASS: [row][class] logits, and the numbers of the classes. Everything below but row_losses counts each row by
// its weight.
struct Scored {
  std::span<const float> predictions;
  std::span<const double> labels;
  std::span<const double> weights = {};  // [row] 0 or more; empty: 1
};

// A sum over blocks of 4,096 values, then over the blocks in their order.
double blocked_sum(std::span<const double> values);

// invalid_argument with the count when a prediction is NaN or infinite; `model` begins the message.
Status check_predictions(std::span<const float> predictions, const std::string& model);

// The loss of each row. BINARY and MULTICLASS: log loss in nats. REGRESSION: squared error.
std::vector<double> row_losses(v1::Label::Task task, const Scored& scored);

// Area under the ROC curve, exact: ties count one half. None when there is only one class.
std::optional<double> auc(const Scored& scored);
// Expected calibration error over ten bins of equal mass (rows in order of their score, those of one score sharing
// their mean label): the mean over rows of |mean probability - positive rate| of the row's bin.
double calibration_error(const Scored& scored);
// The share of rows where the sign of the logit is right; a logit of 0 counts as negative.
double accuracy(const Scored& scored);
// The share of rows whose class has the largest logit; of equal ones the first counts.
double class_accuracy(const Scored& scored);
double root_mean_squared_error(const Scored& scored);
double mean_absolute_error(const Scored& scored);
// 1 - squared error / variance of the labels. None when the labels are constant.
std::optional<double> r_squared(const Scored& scored);

// BINARY: auc, log_loss, calibration_error, accuracy. REGRESSION: rmse, mae, r2. MULTICLASS: log_loss, accuracy. What
// is undefined on these rows is left out; at least one row, and weights that are not all 0.
std::vector<v1::Metric> all_metrics(v1::Label::Task task, const Scored& scored);

}  // namespace freshet::worker
