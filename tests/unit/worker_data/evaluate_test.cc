#include "worker/task/evaluate.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "proto/json.h"
#include "tests/unit/worker_data/support.h"

namespace freshet::worker {
namespace {

double metric(const v1::ModelScores& scores, const std::string& name) {
  for (const auto& m : scores.metrics()) {
    if (m.name() == name) return m.value();
  }
  ADD_FAILURE() << "no metric " << name;
  return 0;
}

double softplus(double x) { return std::log1p(std::exp(x)); }

class EvaluateTest : public DataTest {
 protected:
  // A model that was fitted on the given entries of `data`.
  FakePredictor model(const v1::TabularModel& recipe, const std::vector<std::string>& uris, FakePredictor::Rule rule) {
    auto table = read_table(*only_entries(data, uris), training_columns(recipe), 1);
    EXPECT_TRUE(table.is_ok()) << table.status().message();
    auto transform = Transform::fit(recipe, *table, nullptr);
    EXPECT_TRUE(transform.is_ok()) << transform.status().message();
    return FakePredictor(std::move(transform).value(), std::move(rule));
  }
  v1::EvaluateTask task(const std::vector<std::string>& holdout) {
    v1::EvaluateTask result;
    *result.mutable_data() = data;
    for (const auto& uri : holdout) result.add_holdout(uri);
    result.mutable_candidate()->set_digest("c0");
    result.mutable_champion()->set_digest("c1");
    result.set_champion_version("prices/3");
    return result;
  }
  void add_shop() {
    add_bytes("train.csv", "x,shop,y\n0,a,0\n2,b,1\n");
    add_bytes("h1.csv", "x,shop,y\n1,b,1\n2,a,\n3,b,0\n");
    add_bytes("h2.csv", "x,shop,y\n4,a,1\n5,,0\n6,c,1\n");
  }
  const v1::TabularModel recipe_ = RecipeBuilder().numeric("x").binary("y");
};

// The standardised x of training on {0, 2} is x - 1.
float standardised_x(const EncodedRows& rows, size_t row) { return rows.numeric[0][row]; }

TEST_F(EvaluateTest, scores_both_models_on_the_labelled_rows_of_the_holdout) {
  add_shop();
  const auto candidate = model(recipe_, {"train.csv"}, standardised_x);
  const auto champion = model(recipe_, {"train.csv"}, [](const EncodedRows&, size_t) { return 0.0F; });
  auto report = evaluate(task({"h1.csv", "h2.csv"}), candidate, &champion, 2);
  ASSERT_TRUE(report.is_ok()) << report.status().message();
  EXPECT_EQ(report->loss(), "log_loss");
  EXPECT_EQ(report->rows(), 5U);
  EXPECT_EQ(report->champion_version(), "prices/3");
  EXPECT_EQ(report->candidate().model_digest(), "c0");
  EXPECT_EQ(report->champion().model_digest(), "c1");
  // Logits 0, 2, 3, 4, 5 for the labels 1, 0, 1, 0, 1: three of six pairs are in order.
  EXPECT_DOUBLE_EQ(metric(report->candidate(), "auc"), 0.5);
  EXPECT_DOUBLE_EQ(metric(report->champion(), "auc"), 0.5);
  EXPECT_DOUBLE_EQ(metric(report->champion(), "log_loss"), std::log(2.0));
  const double h1 = softplus(0) + softplus(2);
  const double h2 = softplus(-3) + softplus(4) + softplus(-5);
  EXPECT_DOUBLE_EQ(metric(report->candidate(), "log_loss"), (h1 + h2) / 5);
  ASSERT_EQ(report->entries_size(), 2);
  EXPECT_EQ(report->entries(0).uri(), "h1.csv");
  EXPECT_EQ(report->entries(0).rows(), 2U);
  EXPECT_DOUBLE_EQ(report->entries(0).candidate_loss_sum(), h1);
  EXPECT_DOUBLE_EQ(report->entries(0).champion_loss_sum(), 2 * std::log(2.0));
  EXPECT_EQ(report->entries(1).rows(), 3U);
  EXPECT_DOUBLE_EQ(report->entries(1).candidate_loss_sum(), h2);
}

TEST_F(EvaluateTest, slices_are_the_largest_values_and_ties_go_by_bytes) {
  add_shop();
  const auto candidate = model(recipe_, {"train.csv"}, standardised_x);
  auto request = task({"h2.csv", "h1.csv"});
  request.add_slices()->set_column("shop");
  request.mutable_slices(0)->set_largest(2);
  auto report = evaluate(request, candidate, nullptr, 1);
  ASSERT_TRUE(report.is_ok()) << report.status().message();
  EXPECT_FALSE(report->has_champion());
  EXPECT_EQ(report->champion_version(), "");
  ASSERT_EQ(report->slices_size(), 2);
  EXPECT_EQ(report->slices(0).column(), "shop");
  EXPECT_EQ(report->slices(0).value(), "b");
  EXPECT_EQ(report->slices(0).rows(), 2U);
  EXPECT_DOUBLE_EQ(report->slices(0).candidate_loss_sum(), softplus(0) + softplus(2));
  EXPECT_EQ(report->slices(0).champion_loss_sum(), 0);
  EXPECT_EQ(report->slices(1).value(), "a");
  EXPECT_EQ(report->slices(1).rows(), 1U);
  EXPECT_DOUBLE_EQ(report->slices(1).candidate_loss_sum(), softplus(-3));
  request.mutable_slices(0)->set_largest(0);
  EXPECT_EQ(evaluate(request, candidate, nullptr, 1)->slices_size(), 3);
}

TEST_F(EvaluateTest, each_model_reads_the_rows_through_its_own_transform) {
  add_bytes("old.csv", "x,shop,y\n0,a,0\n20,b,1\n");
  add_bytes("new.csv", "x,shop,y\n0,c,0\n2,b,1\n");
  add_bytes("h.csv", "x,shop,y\n10,b,1\n12,a,0\n");
  const auto candidate = model(recipe_, {"new.csv"}, standardised_x);
  const auto champion = model(RecipeBuilder().categorical("shop").numeric("x").binary("y"), {"old.csv"},
                              [](const EncodedRows& rows, size_t row) {
                                return static_cast<float>(rows.categorical[0][row]) + rows.numeric[0][row];
                              });
  auto report = evaluate(task({"h.csv"}), candidate, &champion, 1);
  ASSERT_TRUE(report.is_ok()) << report.status().message();
  EXPECT_DOUBLE_EQ(report->entries(0).candidate_loss_sum(), softplus(-9) + softplus(11));
  EXPECT_NEAR(report->entries(0).champion_loss_sum(), softplus(-2) + softplus(1.2), 1e-6);
}

TEST_F(EvaluateTest, a_regression_is_scored_in_raw_units) {
  add_parquet("train.parquet", {{"area", real_array({1, 3})}, {"price", real_array({100, 300})}});
  add_parquet("h.parquet", {{"area", real_array({2, 4})}, {"price", real_array({210, 380})}});
  const v1::TabularModel recipe = RecipeBuilder().numeric("area").regression("price");
  const auto candidate = model(recipe, {"train.parquet"},
                               [](const EncodedRows& rows, size_t row) { return 200 + 100 * rows.numeric[0][row]; });
  auto report = evaluate(task({"h.parquet"}), candidate, nullptr, 1);
  ASSERT_TRUE(report.is_ok()) << report.status().message();
  EXPECT_EQ(report->loss(), "squared_error");
  EXPECT_DOUBLE_EQ(report->entries(0).candidate_loss_sum(), 100 + 400);
  EXPECT_DOUBLE_EQ(metric(report->candidate(), "rmse"), std::sqrt(250.0));
  EXPECT_DOUBLE_EQ(metric(report->candidate(), "mae"), 15);
}

TEST_F(EvaluateTest, a_champion_with_another_threshold_is_held_to_the_candidates) {
  add_bytes("train.csv", "x,y\n0,10\n2,40\n");
  add_bytes("h.csv", "x,y\n1,20\n3,40\n");
  const auto candidate = model(RecipeBuilder().numeric("x").binary("y", 15), {"train.csv"}, standardised_x);
  const auto champion = model(RecipeBuilder().numeric("x").binary("y", 30), {"train.csv"}, standardised_x);
  auto report = evaluate(task({"h.csv"}), candidate, &champion, 1);
  ASSERT_TRUE(report.is_ok()) << report.status().message();
  EXPECT_EQ(report->entries(0).candidate_loss_sum(), report->entries(0).champion_loss_sum());
}

// Its logit is 2 for the class whose number is the row's x.
std::vector<float> class_logits(size_t classes, const EncodedRows& rows, size_t row) {
  std::vector<float> logits(classes, 0.0F);
  logits[static_cast<size_t>(rows.numeric[0][row] + 1)] = 2;
  return logits;
}

class FakeClassifier final : public Predictor {
 public:
  explicit FakeClassifier(Transform transform) : transform_(std::move(transform)) {}
  const Transform& transform() const override { return transform_; }
  Result<std::vector<float>> predict(const EncodedRows& rows, unsigned) const override {
    std::vector<float> all;
    for (size_t row = 0; row < rows.rows; ++row) {
      const auto logits = class_logits(transform_.classes(), rows, row);
      all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
  }

 private:
  Transform transform_;
};

TEST_F(EvaluateTest, classes_are_compared_by_their_names) {
  // x is standardised to -1 and 1, so that a model of few classes answers 0, and of three 0 or 2.
  add_bytes("old.csv", "x,y\n0,b\n2,c\n");
  add_bytes("new.csv", "x,y\n0,a\n2,b\n0,c\n2,c\n");
  add_bytes("h.csv", "x,y\n0,a\n0,b\n0,c\n0,d\n0,\n");
  const v1::TabularModel recipe = RecipeBuilder().numeric("x").multiclass("y");
  auto fitted = [&](const std::string& uri) {
    return *Transform::fit(recipe, *read_table(*only_entries(data, {uri}), training_columns(recipe), 1), nullptr);
  };
  const FakeClassifier candidate(fitted("new.csv")), champion(fitted("old.csv"));
  auto report = evaluate(task({"h.csv"}), candidate, &champion, 1);
  ASSERT_TRUE(report.is_ok()) << report.status().message();
  EXPECT_EQ(report->loss(), "log_loss");
  // Of the five rows one has no label, "a" is not known to the champion and "d" to neither.
  EXPECT_EQ(report->rows(), 2U);
  const double three = std::log(std::exp(2.0) + 2), two = std::log(std::exp(2.0) + 1);
  EXPECT_NEAR(report->entries(0).candidate_loss_sum(), 2 * three, 1e-6);   // it says "a"
  EXPECT_NEAR(report->entries(0).champion_loss_sum(), 2 * two - 2, 1e-6);  // it says "b"
  EXPECT_EQ(metric(report->candidate(), "accuracy"), 0);
  EXPECT_EQ(metric(report->champion(), "accuracy"), 0.5);
  auto alone = evaluate(task({"h.csv"}), candidate, nullptr, 1);
  ASSERT_TRUE(alone.is_ok());
  EXPECT_EQ(alone->rows(), 3U);
}

TEST_F(EvaluateTest, weights_are_scaled_to_a_mean_of_one) {
  add_bytes("train.csv", "x,w,y\n0,1,0\n2,1,1\n");
  add_bytes("h.csv", "x,w,y\n1,2,1\n3,6,0\n");
  const auto candidate = model(RecipeBuilder().numeric("x").binary("y").weighted("w"), {"train.csv"}, standardised_x);
  auto report = evaluate(task({"h.csv"}), candidate, nullptr, 1);
  ASSERT_TRUE(report.is_ok()) << report.status().message();
  EXPECT_DOUBLE_EQ(report->entries(0).candidate_loss_sum(), 0.5 * softplus(0) + 1.5 * softplus(2));
  EXPECT_DOUBLE_EQ(metric(report->candidate(), "log_loss"), 0.25 * softplus(0) + 0.75 * softplus(2));
  add_bytes("none.csv", "x,w,y\n1,0,1\n");
  EXPECT_EQ(evaluate(task({"none.csv"}), candidate, nullptr, 1).status().message(),
            "the holdout's rows all have the weight 0");
}

TEST_F(EvaluateTest, gives_the_same_bytes_for_any_number_of_threads) {
  add_shop();
  const auto candidate = model(recipe_, {"train.csv"}, standardised_x);
  auto request = task({"h1.csv", "h2.csv"});
  request.add_slices()->set_column("shop");
  const auto first = to_canonical_json(*evaluate(request, candidate, &candidate, 1));
  EXPECT_EQ(to_canonical_json(*evaluate(request, candidate, &candidate, 3)), first);
}

TEST_F(EvaluateTest, refuses_a_holdout_that_was_trained_on) {
  add_shop();
  const auto candidate = model(recipe_, {"train.csv"}, standardised_x);
  auto by_uri = task({"h1.csv", "h2.csv"});
  by_uri.add_trained_on()->set_version("candidate");
  auto* trained_on = by_uri.add_trained_on();
  trained_on->set_version("prices/2");
  trained_on->add_entries()->set_uri("train.csv");
  EXPECT_TRUE(evaluate(by_uri, candidate, nullptr, 1).is_ok());
  trained_on->add_entries()->set_uri("h2.csv");
  auto refused = evaluate(by_uri, candidate, nullptr, 1);
  ASSERT_FALSE(refused.is_ok());
  EXPECT_EQ(refused.status().message(), "the holdout's entry 'h2.csv' is one that prices/2 was trained on");

  auto by_content = task({"h1.csv"});
  trained_on = by_content.add_trained_on();
  trained_on->set_version("candidate");
  trained_on->add_entries()->set_uri("copy.csv");
  EXPECT_TRUE(evaluate(by_content, candidate, nullptr, 1).is_ok());
  trained_on->mutable_entries(0)->set_sha256(data.entries(1).sha256());
  refused = evaluate(by_content, candidate, nullptr, 1);
  ASSERT_FALSE(refused.is_ok());
  EXPECT_EQ(refused.status().message(),
            "the holdout's entry 'h1.csv' has the same content as 'copy.csv', which candidate was trained on");
  EXPECT_EQ(refused.status().code(), Code::kInvalidArgument);
}

TEST_F(EvaluateTest, names_what_keeps_it_from_scoring) {
  add_shop();
  add_bytes("unlabelled.csv", "x,shop,y\n1,a,\n");
  add_bytes("narrow.csv", "x,y\n1,1\n");
  const auto candidate = model(recipe_, {"train.csv"}, standardised_x);
  auto error = [&](const v1::EvaluateTask& request, const Predictor& first, const Predictor* champion) {
    auto report = evaluate(request, first, champion, 1);
    EXPECT_FALSE(report.is_ok());
    return report.status().message();
  };
  EXPECT_EQ(error(task({}), candidate, nullptr), "the holdout is empty");
  EXPECT_EQ(error(task({"h3.csv"}), candidate, nullptr), "entry 'h3.csv' is not in the dataset version");
  EXPECT_EQ(error(task({"unlabelled.csv"}), candidate, nullptr),
            "the holdout has no rows with a label: 'y' is missing in all 1");
  auto sliced = task({"narrow.csv"});
  sliced.add_slices()->set_column("shop");
  EXPECT_EQ(error(sliced, candidate, nullptr), "column 'shop' is missing in narrow.csv, which has: x, y");
  const auto other = model(RecipeBuilder().numeric("y").regression("x"), {"train.csv"}, standardised_x);
  EXPECT_EQ(error(task({"h1.csv"}), candidate, &other),
            "the champion prices/3 predicts 'x' (REGRESSION) and the candidate 'y' (BINARY): they can't be compared");
  const auto broken = model(recipe_, {"train.csv"}, [](const EncodedRows&, size_t row) {
    return row == 0 ? std::numeric_limits<float>::quiet_NaN() : 0;
  });
  EXPECT_EQ(error(task({"h1.csv"}), broken, nullptr), "the candidate predicts NaN or infinite values for 1 of 2 rows");
  EXPECT_EQ(error(task({"h1.csv"}), candidate, &broken),
            "the champion prices/3 predicts NaN or infinite values for 1 of 2 rows");
}

}  // namespace
}  // namespace freshet::worker
