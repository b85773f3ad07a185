#include "worker/task/inspect.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "tests/unit/worker_data/support.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr auto kNone = std::nullopt;
const double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<std::string> metric_names(const v1::EntryProfile& profile) {
  std::vector<std::string> names;
  for (const auto& metric : profile.champion_metrics()) names.push_back(metric.name());
  return names;
}

double metric(const v1::EntryProfile& profile, const std::string& name) {
  for (const auto& m : profile.champion_metrics()) {
    if (m.name() == name) return m.value();
  }
  ADD_FAILURE() << "no metric " << name;
  return 0;
}

const v1::ColumnProfile& column(const v1::EntryProfile& profile, const std::string& name) {
  static const v1::ColumnProfile none;
  for (const auto& c : profile.columns()) {
    if (c.name() == name) return c;
  }
  ADD_FAILURE() << "no column " << name;
  return none;
}

class InspectTest : public DataTest {
 protected:
  v1::InspectionReport inspect_all(const v1::TabularModel& recipe, const Predictor* champion = nullptr) {
    v1::InspectTask task;
    *task.mutable_step()->mutable_tabular() = recipe;
    *task.mutable_data() = data;
    task.set_champion_version("prices/3");
    auto report = inspect(task, champion, 2);
    EXPECT_TRUE(report.is_ok()) << report.status().message();
    return report.is_ok() ? *report : v1::InspectionReport();
  }
  v1::EntryProfile inspect_one(const v1::TabularModel& recipe, const Predictor* champion = nullptr) {
    auto report = inspect_all(recipe, champion);
    EXPECT_EQ(report.profiles_size(), 1);
    return report.profiles_size() == 1 ? report.profiles(0) : v1::EntryProfile();
  }
  // A model fitted on the entries so far, which are then forgotten.
  FakePredictor model(const v1::TabularModel& recipe, FakePredictor::Rule rule) {
    auto transform = Transform::fit(recipe, *read(required_columns(recipe)), nullptr);
    EXPECT_TRUE(transform.is_ok()) << transform.status().message();
    data.clear_entries();
    return FakePredictor(std::move(transform).value(), std::move(rule));
  }
  const v1::TabularModel recipe_ = RecipeBuilder().numeric("x").categorical("c").binary("y");
};

float standardised_x(const EncodedRows& rows, size_t row) { return rows.numeric[0][row]; }

TEST_F(InspectTest, profiles_the_columns_of_the_recipe) {
  add_parquet("a.parquet", {{"unused", int_array({1, 2, 3, 4})},
                            {"x", real_array({1.5, kNone, -2, 6.5})},
                            {"c", large_text_array({"p", kNone, kNone, "q"})},
                            {"when", time_array(arrow::TimeUnit::MILLI, {1, 2, kNone, 4})},
                            {"y", int_array({20, 10, 30, 40})}});
  const auto profile = inspect_one(
      RecipeBuilder().numeric("x").categorical("c").categorical("when", v1::Feature::HOUR_OF_DAY).binary("y", 15));
  EXPECT_EQ(profile.error(), "");
  EXPECT_EQ(profile.rows(), 4U);
  ASSERT_EQ(profile.columns_size(), 4);
  const auto& x = column(profile, "x");
  EXPECT_EQ(x.type(), "double");
  EXPECT_EQ(x.missing(), 1U);
  EXPECT_EQ(x.non_finite(), 0U);
  EXPECT_EQ(x.min(), -2);
  EXPECT_EQ(x.max(), 6.5);
  EXPECT_EQ(x.mean(), 2);
  EXPECT_EQ(column(profile, "c").type(), "string");
  EXPECT_EQ(column(profile, "c").missing(), 2U);
  EXPECT_FALSE(column(profile, "c").has_min());
  EXPECT_EQ(column(profile, "when").type(), "timestamp[ms]");
  EXPECT_EQ(column(profile, "when").missing(), 1U);
  EXPECT_EQ(column(profile, "y").type(), "int64");
  EXPECT_EQ(column(profile, "y").max(), 40);
  EXPECT_EQ(profile.label().mean(), 0.75);
  EXPECT_FALSE(profile.label().constant());
  EXPECT_EQ(profile.champion_version(), "");
}

TEST_F(InspectTest, a_column_in_two_uses_has_one_profile) {
  add_parquet("a.parquet", {{"x", int_array({1, 2})}, {"y", int_array({0, 1})}});
  const auto profile = inspect_one(RecipeBuilder().categorical("x").numeric("x").binary("y"));
  ASSERT_EQ(profile.columns_size(), 2);
  EXPECT_EQ(column(profile, "x").max(), 2);
}

TEST_F(InspectTest, whole_numbers_of_a_csv_have_the_type_of_broken_ones) {
  add_bytes("a.csv", "x,c,y\n1,7,0\n2,8,1\n");
  add_bytes("b.csv", "x,c,y\n1.5,a,0\n,b,1\n");
  const auto report = inspect_all(recipe_);
  for (const auto& profile : report.profiles()) {
    EXPECT_EQ(column(profile, "x").type(), "double");
    EXPECT_EQ(column(profile, "c").type(), "string");
    EXPECT_EQ(column(profile, "y").type(), "double");
  }
}

TEST_F(InspectTest, finds_what_is_wrong_and_goes_on) {
  add_bytes("empty.parquet", "");
  add_bytes("text.parquet", "hello");
  add_bytes("no_x.csv", "c,y\na,1\nb,0\n");
  add_parquet("nan.parquet",
              {{"x", real_array({kNan, 1, kNan})}, {"c", text_array({"a", "b", "c"})}, {"y", int_array({1, 0, 1})}});
  add_bytes("words.csv", "x,c,y\none,a,1\ntwo,b,0\n");
  add_bytes("constant.csv", "x,c,y\n1,a,1\n2,b,1\n");
  add_bytes("label.csv", "x,c,y\n1,a,1\n2,b,2\n");
  add_bytes("unlabelled.csv", "x,c,y\n1,a,\n2,b,\n");
  add_bytes("header.csv", "x,c,y\n");
  data.add_entries()->set_uri("gone.csv");
  add_bytes("good.csv", "x,c,y\n1,a,1\n2,b,0\n");
  const auto report = inspect_all(recipe_);
  ASSERT_EQ(report.profiles_size(), 11);
  EXPECT_EQ(report.profiles(0).error(), "empty.parquet: the file is empty");
  EXPECT_EQ(report.profiles(1).error(), "text.parquet: not a Parquet file (no PAR1 at its start)");
  EXPECT_EQ(report.profiles(2).error(), "");
  EXPECT_EQ(report.profiles(2).columns_size(), 2);
  EXPECT_FALSE(report.profiles(2).has_label());
  EXPECT_EQ(report.profiles(3).error(), "");
  EXPECT_EQ(column(report.profiles(3), "x").non_finite(), 2U);
  EXPECT_EQ(column(report.profiles(3), "x").mean(), 1);
  EXPECT_EQ(report.profiles(4).error(), "column 'x' in words.csv has the type string, but numbers are needed");
  EXPECT_EQ(column(report.profiles(4), "x").type(), "string");
  EXPECT_EQ(report.profiles(4).rows(), 2U);
  EXPECT_TRUE(report.profiles(5).label().constant());
  EXPECT_EQ(report.profiles(5).label().mean(), 1);
  EXPECT_THAT(report.profiles(6).error(), HasSubstr("label 'y' must be 0 or 1"));
  EXPECT_EQ(report.profiles(7).error(), "");
  EXPECT_EQ(column(report.profiles(7), "y").missing(), 2U);
  EXPECT_FALSE(report.profiles(7).has_label());
  EXPECT_EQ(report.profiles(8).error(), "");
  EXPECT_EQ(report.profiles(8).rows(), 0U);
  EXPECT_EQ(report.profiles(9).error(), "gone.csv: the file is no longer there");
  EXPECT_EQ(report.profiles(10).error(), "");
  EXPECT_EQ(report.profiles(10).label().mean(), 0.5);
}

TEST_F(InspectTest, scores_the_champion_on_each_entry) {
  add_bytes("train.csv", "x,c,y\n0,a,0\n2,b,1\n");
  const auto champion = model(recipe_, standardised_x);
  add_bytes("good.csv", "x,c,y\n0,a,0\n1,b,0\n9,a,\n2,b,1\n");
  add_bytes("shuffled.csv", "x,c,y\n0,a,1\n1,b,0\n2,b,0\n");
  add_bytes("constant.csv", "x,c,y\n0,a,1\n1,b,1\n");
  const auto report = inspect_all(recipe_, &champion);
  ASSERT_EQ(report.profiles_size(), 3);
  EXPECT_EQ(report.profiles(0).error(), "");
  EXPECT_EQ(report.profiles(0).champion_version(), "prices/3");
  EXPECT_THAT(metric_names(report.profiles(0)), ElementsAre("auc", "log_loss", "calibration_error", "accuracy"));
  EXPECT_EQ(metric(report.profiles(0), "auc"), 1);
  EXPECT_NEAR(metric(report.profiles(0), "log_loss"), (2 * std::log1p(std::exp(-1.0)) + std::log(2.0)) / 3, 1e-12);
  EXPECT_EQ(metric(report.profiles(1), "auc"), 0);
  EXPECT_THAT(metric_names(report.profiles(2)), ElementsAre("log_loss", "calibration_error", "accuracy"));
}

TEST_F(InspectTest, a_file_of_several_row_groups_is_one_profile) {
  const v1::TabularModel recipe = RecipeBuilder().numeric("x").binary("y");
  add_bytes("train.csv", "x,y\n0,0\n2,1\n");
  const auto champion = model(recipe, standardised_x);
  add_parquet("a.parquet", {{"x", real_array({1, kNone, 9, 4, 6})}, {"y", int_array({1, 0, kNone, 0, 1})}}, 2);
  const auto profile = inspect_one(recipe, &champion);
  EXPECT_EQ(profile.rows(), 5U);
  EXPECT_EQ(column(profile, "x").missing(), 1U);
  EXPECT_EQ(column(profile, "x").min(), 1);
  EXPECT_EQ(column(profile, "x").max(), 9);
  EXPECT_EQ(column(profile, "x").mean(), 5);
  EXPECT_EQ(profile.label().mean(), 0.5);
  EXPECT_EQ(metric(profile, "accuracy"), 0.5);  // 0 counts as negative: wrong, right, wrong, right
}

TEST_F(InspectTest, scores_a_regression_in_raw_units) {
  add_bytes("train.csv", "x,z\n0,10\n2,30\n");
  const v1::TabularModel recipe = RecipeBuilder().numeric("x").regression("z");
  const auto champion =
      model(recipe, [](const EncodedRows& rows, size_t row) { return 20 + 10 * rows.numeric[0][row]; });
  add_parquet("a.parquet", {{"z", number_array<arrow::FloatBuilder>(Cells<double>{13, 34})}, {"x", int_array({0, 2})}});
  const auto profile = inspect_one(recipe, &champion);
  EXPECT_EQ(profile.error(), "");
  EXPECT_EQ(profile.label().mean(), 23.5);
  EXPECT_DOUBLE_EQ(metric(profile, "rmse"), std::sqrt(12.5));
}

TEST_F(InspectTest, says_what_the_champion_needs_beyond_the_recipe) {
  add_bytes("train.csv", "x,c,old,y\n0,a,1,0\n2,b,2,1\n");
  const auto champion = model(RecipeBuilder().numeric("x").numeric("old").binary("y"), standardised_x);
  add_bytes("without.csv", "x,c,y\n0,a,0\n1,b,1\n");
  add_bytes("words.csv", "x,c,old,y\n0,a,one,0\n1,b,two,1\n");
  add_bytes("nan.csv", "x,c,old,y\n0,a,nan,0\n1,b,2,1\n");
  add_bytes("no_c.csv", "x,y\n0,0\n1,1\n");
  const auto report = inspect_all(recipe_, &champion);
  EXPECT_EQ(report.profiles(0).error(),
            "the champion prices/3 can't be scored on it: column 'old' is missing in without.csv, which has: x, c, y");
  EXPECT_EQ(report.profiles(1).error(),
            "the champion prices/3 can't be scored on it: column 'old' in words.csv has the type string, but numbers "
            "are needed");
  EXPECT_EQ(report.profiles(2).error(),
            "the champion prices/3 can't be scored on it: column 'old' has 1 NaN or infinite value among the 2 rows of "
            "nan.csv");
  // A column of the recipe is missing: that is the finding, and the champion says nothing new.
  EXPECT_EQ(report.profiles(3).error(), "");
  EXPECT_EQ(report.profiles(3).champion_metrics_size(), 0);
}

TEST_F(InspectTest, a_champion_that_predicts_nonsense_is_an_error_of_the_entry) {
  add_bytes("train.csv", "x,c,y\n0,a,0\n2,b,1\n");
  const auto champion =
      model(recipe_, [](const EncodedRows&, size_t) { return std::numeric_limits<float>::infinity(); });
  add_bytes("a.csv", "x,c,y\n0,a,0\n1,b,1\n");
  EXPECT_EQ(inspect_one(recipe_, &champion).error(),
            "the champion prices/3 can't be scored on it: it predicts NaN or infinite values for 2 of 2 rows");
}

TEST_F(InspectTest, fails_only_when_there_is_no_source) {
  v1::InspectTask task;
  task.mutable_data()->set_source_uri("s3://x");
  auto report = inspect(task, nullptr, 1);
  ASSERT_FALSE(report.is_ok());
  EXPECT_EQ(report.status().message(), "the source 's3://x' is not a file:// URI");
}

}  // namespace
}  // namespace freshet::worker
