#include "worker/metrics/scores.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace freshet::worker {
namespace {

constexpr unsigned kSeed = 7;

// The definition: the share of (positive, negative) pairs in the right order, a tie counting one half.
double auc_by_pairs(const std::vector<float>& predictions, const std::vector<double>& labels) {
  double ordered = 0;
  double pairs = 0;
  for (size_t p = 0; p < labels.size(); ++p) {
    for (size_t n = 0; n < labels.size(); ++n) {
      if (labels[p] == 0 || labels[n] == 1) continue;
      pairs += 1;
      ordered += predictions[p] > predictions[n] ? 1 : predictions[p] == predictions[n] ? 0.5 : 0;
    }
  }
  return ordered / pairs;
}

std::vector<std::string> names_of(const std::vector<v1::Metric>& metrics) {
  std::vector<std::string> names;
  for (const auto& metric : metrics) names.push_back(metric.name());
  return names;
}

TEST(ScoresTest, auc_is_the_share_of_ordered_pairs) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  for (int distinct : {2, 7, 100000}) {
    std::vector<float> predictions;
    std::vector<double> labels;
    for (int i = 0; i < 500; ++i) {
      labels.push_back(random() % 3 == 0 ? 1 : 0);
      predictions.push_back(static_cast<float>(random() % static_cast<unsigned>(distinct)) - 3);
    }
    EXPECT_DOUBLE_EQ(*auc({predictions, labels}), auc_by_pairs(predictions, labels)) << distinct;
  }
}

TEST(ScoresTest, auc_at_its_ends) {
  const std::vector<float> rising = {1, 2, 3, 4};
  EXPECT_EQ(auc({rising, std::vector<double>{0, 0, 1, 1}}), 1.0);
  EXPECT_EQ(auc({rising, std::vector<double>{1, 1, 0, 0}}), 0.0);
  EXPECT_EQ(auc({std::vector<float>(4, 0.5F), std::vector<double>{1, 0, 1, 0}}), 0.5);
  EXPECT_EQ(auc({rising, std::vector<double>(4, 1)}), std::nullopt);
}

TEST(ScoresTest, log_loss_is_right_and_does_not_overflow) {
  const std::vector<float> logits = {0, 2, -2, 1000, -1000};
  const std::vector<double> labels = {1, 1, 1, 1, 1};
  const auto losses = row_losses(v1::Label::BINARY, {logits, labels});
  EXPECT_DOUBLE_EQ(losses[0], std::log(2.0));
  EXPECT_NEAR(losses[1], -std::log(1 / (1 + std::exp(-2.0))), 1e-15);
  EXPECT_DOUBLE_EQ(losses[2], losses[1] + 2);
  EXPECT_EQ(losses[3], 0);
  EXPECT_EQ(losses[4], 1000);
  const auto negatives = row_losses(v1::Label::BINARY, {logits, std::vector<double>(5, 0)});
  EXPECT_DOUBLE_EQ(negatives[2], losses[1]);
  EXPECT_EQ(negatives[3], 1000);
}

TEST(ScoresTest, calibration_error_of_a_known_case) {
  // Two scores, 0.5 and about 0.88, on ten rows each: five bins hold the one, five the other.
  std::vector<float> logits(10, 0.0F);
  logits.insert(logits.end(), 10, 2.0F);
  std::vector<double> labels(20, 0.0);
  std::fill(labels.begin(), labels.begin() + 3, 1.0);        // 30 % of the first ten
  std::fill(labels.begin() + 10, labels.begin() + 19, 1.0);  // 90 % of the others
  const double expected = 0.5 * (0.5 - 0.3) + 0.5 * std::abs(1 / (1 + std::exp(-2.0)) - 0.9);
  EXPECT_NEAR(calibration_error({logits, labels}), expected, 1e-12);
  // Rows of one score are one thing, whatever order they come in.
  std::reverse(labels.begin(), labels.begin() + 10);
  EXPECT_NEAR(calibration_error({logits, labels}), expected, 1e-12);
}

TEST(ScoresTest, calibration_bins_have_equal_mass) {
  // One row a bin, so that an error of one sign can't hide one of the other.
  std::vector<float> logits;
  std::vector<double> labels;
  double expected = 0;
  for (int i = 0; i < 10; ++i) {
    logits.push_back(static_cast<float>(i) - 4.5F);
    labels.push_back(i % 2);
    expected += std::abs(1 / (1 + std::exp(-(i - 4.5))) - i % 2) / 10;
  }
  EXPECT_NEAR(calibration_error({logits, labels}), expected, 1e-12);
}

TEST(ScoresTest, accuracy_counts_the_right_signs) {
  EXPECT_EQ(accuracy({std::vector<float>{1, -1, 0, 3}, std::vector<double>{1, 1, 0, 1}}), 0.75);
}

TEST(ScoresTest, errors_of_a_regression) {
  const std::vector<float> predictions = {1, 2, 6};
  const std::vector<double> labels = {1, 4, 4};
  const Scored scored{predictions, labels};
  EXPECT_DOUBLE_EQ(root_mean_squared_error(scored), std::sqrt(8.0 / 3));
  EXPECT_DOUBLE_EQ(mean_absolute_error(scored), 4.0 / 3);
  EXPECT_DOUBLE_EQ(*r_squared(scored), 1 - 8.0 / 6);
  EXPECT_THAT(row_losses(v1::Label::REGRESSION, scored), testing::ElementsAre(0, 4, 4));
  EXPECT_EQ(r_squared({predictions, std::vector<double>(3, 2)}), std::nullopt);
}

TEST(ScoresTest, all_metrics_leaves_out_what_is_undefined) {
  const std::vector<float> predictions = {1, 2};
  EXPECT_THAT(names_of(all_metrics(v1::Label::BINARY, {predictions, std::vector<double>{0, 1}})),
              testing::ElementsAre("auc", "log_loss", "calibration_error", "accuracy"));
  EXPECT_THAT(names_of(all_metrics(v1::Label::BINARY, {predictions, std::vector<double>{1, 1}})),
              testing::ElementsAre("log_loss", "calibration_error", "accuracy"));
  EXPECT_THAT(names_of(all_metrics(v1::Label::REGRESSION, {predictions, std::vector<double>{1, 2}})),
              testing::ElementsAre("rmse", "mae", "r2"));
  EXPECT_THAT(names_of(all_metrics(v1::Label::REGRESSION, {predictions, std::vector<double>{2, 2}})),
              testing::ElementsAre("rmse", "mae"));
}

TEST(ScoresTest, classes_are_scored_by_the_softmax_of_their_logits) {
  const std::vector<float> logits = {0, 0, 0, 1, 3, 3, 1000, -1000, 0};
  const std::vector<double> labels = {2, 2, 0};
  const Scored scored{logits, labels};
  const auto losses = row_losses(v1::Label::MULTICLASS, scored);
  EXPECT_DOUBLE_EQ(losses[0], std::log(3.0));
  EXPECT_DOUBLE_EQ(losses[1], std::log(std::exp(1.0) + 2 * std::exp(3.0)) - 3);
  EXPECT_EQ(losses[2], 0);
  EXPECT_DOUBLE_EQ(class_accuracy(scored), 1.0 / 3);  // of equal logits the first counts
  const auto metrics = all_metrics(v1::Label::MULTICLASS, scored);
  EXPECT_THAT(names_of(metrics), testing::ElementsAre("log_loss", "accuracy"));
  EXPECT_DOUBLE_EQ(metrics[0].value(), (losses[0] + losses[1]) / 3);
  const std::vector<double> wrong = {2, 2, 1};
  EXPECT_EQ(row_losses(v1::Label::MULTICLASS, {logits, wrong})[2], 2000);
}

// A row of weight 3 is three rows.
TEST(ScoresTest, a_weight_counts_a_row_so_often) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  std::vector<float> predictions, repeated_predictions;
  std::vector<double> labels, weights, repeated_labels;
  for (int i = 0; i < 300; ++i) {
    predictions.push_back(static_cast<float>(random() % 50) / 10 - 2);
    labels.push_back(random() % 3 == 0 ? 1 : 0);
    weights.push_back(random() % 4);
    repeated_predictions.insert(repeated_predictions.end(), static_cast<size_t>(weights.back()), predictions.back());
    repeated_labels.insert(repeated_labels.end(), static_cast<size_t>(weights.back()), labels.back());
  }
  for (auto task : {v1::Label::BINARY, v1::Label::REGRESSION}) {
    const auto weighted = all_metrics(task, {predictions, labels, weights});
    const auto repeated = all_metrics(task, {repeated_predictions, repeated_labels});
    ASSERT_EQ(weighted.size(), repeated.size());
    for (size_t i = 0; i < weighted.size(); ++i) {
      // The bins of the calibration error end elsewhere when a row is not cut in two.
      const double tolerance = weighted[i].name() == "calibration_error" ? 0.02 : 1e-12;
      EXPECT_NEAR(weighted[i].value(), repeated[i].value(), tolerance) << weighted[i].name();
    }
  }
}

TEST(ScoresTest, a_sum_has_the_order_of_its_blocks) {
  // 1 is lost beside 1e16 when added to it alone, and kept by a block of its own kind.
  std::vector<double> values(4096 * 2, 0.0);
  values[0] = 1e16;
  for (size_t i = 4096; i < 4096 + 64; ++i) values[i] = 1;
  EXPECT_EQ(blocked_sum(values), 1e16 + 64);
  EXPECT_EQ(std::accumulate(values.begin(), values.end(), 0.0), 1e16);
  EXPECT_EQ(blocked_sum({}), 0);
}

TEST(ScoresTest, counts_predictions_that_are_not_finite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(check_predictions(std::vector<float>{1, nan, -infinity}, "the candidate").message(),
            "the candidate predicts NaN or infinite values for 2 of 3 rows");
  EXPECT_TRUE(check_predictions(std::vector<float>{1}, "the candidate").is_ok());
}

}  // namespace
}  // namespace freshet::worker
