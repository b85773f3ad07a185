#include "worker/data/transform.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "tests/unit/worker_data/support.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr auto kNone = std::nullopt;
constexpr int64_t kHour = 3'600'000'000;
const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInfinity = std::numeric_limits<double>::infinity();

class TransformTest : public DataTest {
 protected:
  // Reads and fits everything in `data`.
  Result<Transform> fit(const v1::TabularModel& model, const Transform* previous = nullptr) {
    auto table = read(required_columns(model));
    if (!table.is_ok()) return table.status();
    return Transform::fit(model, *table, previous);
  }
  std::string error_of_fit(const v1::TabularModel& model) {
    auto transform = fit(model);
    EXPECT_FALSE(transform.is_ok());
    return transform.status().message();
  }
  EncodedRows encode(const Transform& transform) {
    auto encoded = transform.encode(*read(required_columns(transform.model())));
    EXPECT_TRUE(encoded.is_ok()) << encoded.status().message();
    return encoded.is_ok() ? *encoded : EncodedRows();
  }
};

TEST_F(TransformTest, encodes_categories_numbers_and_a_label) {
  add_parquet("a.parquet", {{"fruit", text_array({"pear", "fig", kNone, "pear"})},
                            {"grams", real_array({1, 3, kNone, 3})},
                            {"shelf", int_array({10, 9, 10, kNone})},
                            {"sold", int_array({0, 1, 1, 0})}});
  add_parquet("b.parquet", {{"fruit", text_array({"apple", "fig"})},
                            {"grams", real_array({5, 3})},
                            {"shelf", int_array({-1, 10})},
                            {"sold", int_array({1, 0})}});
  auto transform =
      fit(RecipeBuilder().categorical("fruit").numeric("grams").categorical("shelf", {}, 4).binary("sold"));
  ASSERT_TRUE(transform.is_ok()) << transform.status().message();
  // Sorted by bytes: apple, fig, pear; "-1", "10", "9".
  EXPECT_THAT(transform->cardinalities(), ElementsAre(4, 4));
  EXPECT_EQ(transform->model().features(0).embedding_dim(), 16U);
  EXPECT_EQ(transform->model().features(2).embedding_dim(), 4U);
  EXPECT_EQ(transform->numeric_features(), 1U);
  const auto rows = encode(*transform);
  EXPECT_EQ(rows.rows, 6U);
  EXPECT_EQ(rows.dropped, 0U);
  EXPECT_THAT(rows.categorical, ElementsAre(ElementsAre(3, 2, 0, 3, 1, 2), ElementsAre(2, 3, 2, 0, 1, 2)));
  const float deviation = static_cast<float>(std::sqrt(1.6));
  EXPECT_THAT(rows.numeric, ElementsAre(ElementsAre(-2 / deviation, 0, 0, 0, 2 / deviation, 0)));
  EXPECT_THAT(rows.label, ElementsAre(0, 1, 1, 0, 1, 0));
  EXPECT_THAT(rows.entry, ElementsAre(0, 0, 0, 0, 1, 1));
  EXPECT_THAT(rows.entry_uris, ElementsAre("a.parquet", "b.parquet"));
}

TEST_F(TransformTest, what_was_not_seen_in_training_is_unknown) {
  add_bytes("a.csv", "c,y\nred,0\nblue,1\n");
  const v1::TabularModel model = RecipeBuilder().categorical("c").binary("y");
  auto transform = fit(model);
  ASSERT_TRUE(transform.is_ok());
  data.clear_entries();
  add_bytes("b.csv", "c,y\ngreen,0\nred,1\n,1\n");
  EXPECT_THAT(encode(*transform).categorical, ElementsAre(ElementsAre(0, 2, 0)));
}

TEST_F(TransformTest, csv_and_parquet_of_the_same_rows_encode_the_same) {
  const v1::TabularModel model = RecipeBuilder()
                                     .categorical("k")
                                     .numeric("n")
                                     .categorical("flag")
                                     .numeric("t", v1::Feature::HOUR_OF_DAY)
                                     .binary("y");
  add_parquet("a.parquet", {{"k", int_array({12, 7, kNone})},
                            {"n", int_array({1, 2, 4})},
                            {"flag", bool_array({true, false, true})},
                            {"t", time_array(arrow::TimeUnit::SECOND, {3600, 7200, 0})},
                            {"y", bool_array({true, false, true})}});
  auto from_parquet = fit(model);
  ASSERT_TRUE(from_parquet.is_ok()) << from_parquet.status().message();
  const auto parquet_rows = encode(*from_parquet);
  data.clear_entries();
  add_bytes("a.csv",
            "k,n,flag,t,y\n12,1,true,1970-01-01 01:00:00,true\n7,2,false,1970-01-01 02:00:00,false\n"
            ",4,true,1970-01-01 00:00:00,true\n");
  auto from_csv = fit(model);
  ASSERT_TRUE(from_csv.is_ok()) << from_csv.status().message();
  EXPECT_EQ(from_csv->to_json(), from_parquet->to_json());
  const auto csv_rows = encode(*from_csv);
  EXPECT_EQ(csv_rows.categorical, parquet_rows.categorical);
  EXPECT_EQ(csv_rows.numeric, parquet_rows.numeric);
  EXPECT_EQ(csv_rows.label, parquet_rows.label);
}

TEST_F(TransformTest, derives_the_hour_and_the_weekday) {
  // 1970-01-01 was a Thursday; the microsecond before it was 23 h of a Wednesday.
  add_parquet("a.parquet", {{"t", time_array(arrow::TimeUnit::MICRO, {0, -1, 4 * 24 * kHour + 13 * kHour, kNone})},
                            {"y", int_array({0, 1, 0, 1})}});
  auto transform = fit(RecipeBuilder()
                           .categorical("t", v1::Feature::HOUR_OF_DAY)
                           .categorical("t", v1::Feature::DAY_OF_WEEK)
                           .numeric("t", v1::Feature::DAY_OF_WEEK)
                           .binary("y"));
  ASSERT_TRUE(transform.is_ok()) << transform.status().message();
  const auto rows = encode(*transform);
  // Hours "0", "13", "23"; weekdays "0" (Monday), "2", "3".
  EXPECT_THAT(rows.categorical, ElementsAre(ElementsAre(1, 3, 2, 0), ElementsAre(3, 2, 1, 0)));
  const double mean = 5.0 / 3;
  const double deviation = std::sqrt(((3 - mean) * (3 - mean) + (2 - mean) * (2 - mean) + mean * mean) / 3);
  EXPECT_THAT(rows.numeric[0], ElementsAre(testing::FloatEq(static_cast<float>((3 - mean) / deviation)),
                                           testing::FloatEq(static_cast<float>((2 - mean) / deviation)),
                                           testing::FloatEq(static_cast<float>(-mean / deviation)), 0));
}

TEST_F(TransformTest, a_binary_label_may_have_a_threshold) {
  add_bytes("a.csv", "x,y\n1,14.9\n2,15\n3,15.1\n4,-3\n");
  auto transform = fit(RecipeBuilder().numeric("x").binary("y", 15));
  ASSERT_TRUE(transform.is_ok());
  EXPECT_THAT(encode(*transform).label, ElementsAre(0, 0, 1, 0));
  EXPECT_EQ(transform->label_mean(), 0);
  EXPECT_EQ(transform->label_scale(), 1);
}

TEST_F(TransformTest, a_regression_label_is_standardised) {
  add_bytes("a.csv", "x,y\n1,10\n2,30\n");
  auto transform = fit(RecipeBuilder().numeric("x").regression("y"));
  ASSERT_TRUE(transform.is_ok());
  EXPECT_THAT(encode(*transform).label, ElementsAre(-1, 1));
  EXPECT_EQ(transform->label_mean(), 20);
  EXPECT_EQ(transform->label_scale(), 10);
}

TEST_F(TransformTest, rows_without_a_label_are_left_out_of_everything) {
  add_bytes("a.csv", "x,c,y\n1,a,10\n1000,never,\n2,b,30\n");
  add_bytes("b.csv", "x,c,y\n3,b,\n");
  auto transform = fit(RecipeBuilder().numeric("x").categorical("c").regression("y"));
  ASSERT_TRUE(transform.is_ok());
  EXPECT_THAT(transform->cardinalities(), ElementsAre(3));
  const auto rows = encode(*transform);
  EXPECT_EQ(rows.rows, 2U);
  EXPECT_EQ(rows.dropped, 2U);
  EXPECT_THAT(rows.numeric, ElementsAre(ElementsAre(-1, 1)));
  EXPECT_THAT(rows.categorical, ElementsAre(ElementsAre(1, 2)));
  EXPECT_THAT(rows.label, ElementsAre(-1, 1));
  EXPECT_THAT(rows.entry, ElementsAre(0, 0));
  const auto features = transform->encode_features(*read(feature_columns(transform->model())));
  ASSERT_TRUE(features.is_ok());
  EXPECT_EQ(features->rows, 4U);
  EXPECT_TRUE(features->label.empty());
  EXPECT_THAT(features->categorical, ElementsAre(ElementsAre(1, 0, 2, 2)));
}

TEST_F(TransformTest, a_constant_feature_is_zero) {
  add_bytes("a.csv", "x,y\n5,0\n5,1\n");
  auto transform = fit(RecipeBuilder().numeric("x").binary("y"));
  ASSERT_TRUE(transform.is_ok());
  EXPECT_THAT(encode(*transform).numeric, ElementsAre(ElementsAre(0, 0)));
}

TEST_F(TransformTest, a_warm_start_keeps_codes_and_scaling_and_adds_categories) {
  add_bytes("a.csv", "x,c,y\n1,m,10\n3,k,30\n");
  const v1::TabularModel model = RecipeBuilder().numeric("x").categorical("c").regression("y");
  auto first = fit(model);
  ASSERT_TRUE(first.is_ok());
  data.clear_entries();
  add_bytes("b.csv", "x,c,y\n100,z,1\n200,k,2\n300,a,3\n");
  auto second = fit(model, &*first);
  ASSERT_TRUE(second.is_ok()) << second.status().message();
  EXPECT_THAT(second->cardinalities(), ElementsAre(5));
  const auto rows = encode(*second);
  EXPECT_THAT(rows.categorical, ElementsAre(ElementsAre(4, 1, 3)));  // k, m, then a, z
  EXPECT_THAT(rows.numeric, ElementsAre(ElementsAre(98, 198, 298)));
  EXPECT_THAT(rows.label, ElementsAre(-1.9F, -1.8F, -1.7F));

  auto other = fit(RecipeBuilder().categorical("c").regression("y"), &*first);
  ASSERT_FALSE(other.is_ok());
  EXPECT_EQ(other.status().code(), Code::kConflict);
  EXPECT_EQ(other.status().message(),
            "the model to start from has other features, another label or other hidden layers");
}

TEST_F(TransformTest, knows_whose_weights_fit) {
  add_bytes("a.csv", "x,c,y\n1,m,0\n3,k,1\n");
  const v1::TabularModel model = RecipeBuilder().numeric("x").categorical("c").binary("y");
  auto transform = fit(model);
  ASSERT_TRUE(transform.is_ok());
  EXPECT_TRUE(transform->same_features(model));
  EXPECT_TRUE(transform->same_features(RecipeBuilder().numeric("x").categorical("c", {}, 16).binary("y")));
  EXPECT_FALSE(transform->same_features(RecipeBuilder().numeric("x").categorical("c", {}, 8).binary("y")));
  EXPECT_FALSE(transform->same_features(RecipeBuilder().categorical("c").numeric("x").binary("y")));
  EXPECT_FALSE(transform->same_features(RecipeBuilder().numeric("x").categorical("c").binary("y", 0.5)));
  v1::TabularModel wider = model;
  wider.add_hidden_layers(64);
  EXPECT_FALSE(transform->same_features(wider));
  v1::TabularModel rounded = model;
  rounded.set_compute(v1::TabularModel::BFLOAT16);
  EXPECT_TRUE(transform->same_features(rounded)) << "what computes it is not what it is";
}

TEST_F(TransformTest, is_the_same_after_json) {
  add_parquet("a.parquet", {{"x", real_array({0.1, 0.2, 1.0 / 3})},
                            {"c", text_array({"\"quote\"", "\xC3\xA9\n", "back\\slash"})},
                            {"y", real_array({1e-9, 2.0 / 3, 1e20})}});
  auto transform = fit(RecipeBuilder().numeric("x").categorical("c").regression("y"));
  ASSERT_TRUE(transform.is_ok()) << transform.status().message();
  const std::string json = transform->to_json();
  auto again = Transform::from_json(json);
  ASSERT_TRUE(again.is_ok()) << again.status().message();
  EXPECT_EQ(again->to_json(), json);
  const auto rows = encode(*transform);
  const auto rows_again = encode(*again);
  EXPECT_EQ(rows_again.numeric, rows.numeric);
  EXPECT_EQ(rows_again.categorical, rows.categorical);
  EXPECT_EQ(rows_again.label, rows.label);
}

TEST_F(TransformTest, refuses_json_that_is_no_transform) {
  const std::string model = R"("model":{"features":[{"column":"c","kind":"CATEGORICAL"}],)"
                            R"("label":{"column":"y","task":"BINARY"}})";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{", "transform.json: "},
      {"{" + model + "}", "its vocabularies and scalings do not match its features"},
      {"{" + model + R"(,"vocabularies":[{"words":["a","a"]}]})", "its vocabulary has the word 'a' twice"},
      {"{" + model + R"(,"vocabularies":[{}],"label":{"scale":1}})", "its label's scaling does not match"},
      {R"({"model":{"features":[{"column":"x","kind":"NUMERIC"}],"label":{"column":"y","task":"BINARY"}},)"
       R"("scalings":[{"mean":1}]})",
       "it has a scaling that is not a finite mean and a positive scale"},
  };
  for (const auto& [json, message] : cases) {
    auto transform = Transform::from_json(json);
    ASSERT_FALSE(transform.is_ok()) << json;
    EXPECT_THAT(transform.status().message(), HasSubstr(message));
  }
}

TEST_F(TransformTest, names_what_is_wrong_with_the_label) {
  std::string constant = "x,y\n";
  for (int i = 0; i < 1234; ++i) constant += "1,0\n";
  const v1::TabularModel binary = RecipeBuilder().numeric("x").binary("y");
  const v1::TabularModel over_15 = RecipeBuilder().numeric("x").binary("y", 15);
  const v1::TabularModel regression = RecipeBuilder().numeric("x").regression("y");
  const std::vector<std::tuple<std::string, v1::TabularModel, std::string>> cases = {
      {constant, binary, "label 'y' is constant (all 0) over 1,234 training rows"},
      {"x,y\n1,3.5\n2,3.5\n", regression, "label 'y' is constant (all 3.5) over 2 training rows"},
      {"x,y\n1,99\n", over_15, "label 'y' is constant (all 1) over 1 training row"},
      {"x,y\n1,\n2,\n", binary, "there are no rows to train on: label 'y' is missing in all 2 rows of 1 entry"},
      {"x,y\n", binary, "there are no rows to train on: label 'y' is missing in all 0 rows of 1 entry"},
      {"x,y\n1,0\n2,7\n3,8\n", binary,
       "label 'y' must be 0 or 1 where the recipe sets no positive_above; in a.csv 2 of 3 rows have other values, for "
       "example 7"},
      {"x,y\n1,yes\n", binary, "column 'y' in a.csv has the type string, but numbers are needed"},
      {"x,y\n1,nan\n2,1\n", regression, "column 'y' has 1 NaN or infinite value among the 2 rows of a.csv"},
      {"x,z\n1,0\n", binary, "column 'y' is missing in a.csv, which has: x, z"},
  };
  for (const auto& [bytes, model, message] : cases) {
    data.clear_entries();
    add_bytes("a.csv", bytes);
    EXPECT_EQ(error_of_fit(model), message);
  }
}

TEST_F(TransformTest, names_nan_and_infinite_values_with_column_and_entry) {
  const v1::TabularModel model = RecipeBuilder().numeric("x").binary("y");
  add_parquet("good.parquet", {{"x", real_array({1, 2})}, {"y", int_array({0, 1})}});
  auto transform = fit(model);
  ASSERT_TRUE(transform.is_ok());
  add_parquet("bad.parquet", {{"x", real_array({kNan, 1, -kInfinity, kNone})}, {"y", int_array({0, 1, 0, 1})}});
  const std::string message = "column 'x' has 2 NaN or infinite values among the 4 rows of bad.parquet";
  EXPECT_EQ(error_of_fit(model), message);
  auto encoded = transform->encode(*read(required_columns(model)));
  ASSERT_FALSE(encoded.is_ok());
  EXPECT_EQ(encoded.status().message(), message);
  EXPECT_EQ(encoded.status().code(), Code::kInvalidArgument);
}

TEST_F(TransformTest, refuses_a_recipe_that_can_not_be_learned) {
  add_bytes("a.csv", "x,y\n1,0\n2,1\n");
  auto table = read({{"x", ColumnUse::kNumber}, {"y", ColumnUse::kNumber}});
  ASSERT_TRUE(table.is_ok());
  auto error = [&](const v1::TabularModel& model) { return Transform::fit(model, *table, nullptr).status().message(); };
  EXPECT_EQ(error(RecipeBuilder().binary("y")), "the model has no features");
  EXPECT_EQ(error(RecipeBuilder().numeric("y").binary("y")),
            "label 'y' is also a feature, which would give the answer away");
  EXPECT_EQ(error(RecipeBuilder().numeric("x")), "the label has no task");
  v1::TabularModel no_kind = RecipeBuilder().binary("y");
  no_kind.add_features()->set_column("x");
  EXPECT_EQ(error(no_kind), "feature 'x' has no kind");
  EXPECT_EQ(error(RecipeBuilder().categorical("x").binary("y")), "column 'x' was not read as categories");
}

TEST_F(TransformTest, is_the_same_for_any_number_of_threads) {
  for (int file = 0; file < 8; ++file) {
    Cells<double> x;
    Cells<std::string> c;
    Cells<double> y;
    for (int row = 0; row < 1000; ++row) {
      x.push_back(std::sin(file * 1000 + row) * 1e6);
      c.push_back("w" + std::to_string((file * 7 + row) % 97));
      y.push_back(std::cos(row));
    }
    add_parquet("f" + std::to_string(file) + ".parquet",
                {{"x", real_array(x)}, {"c", text_array(c)}, {"y", real_array(y)}});
  }
  const v1::TabularModel model = RecipeBuilder().numeric("x").categorical("c").regression("y");
  std::string first;
  for (unsigned threads : {1U, 2U, 4U}) {
    auto transform = Transform::fit(model, *read(required_columns(model), threads), nullptr);
    ASSERT_TRUE(transform.is_ok());
    if (first.empty()) first = transform->to_json();
    EXPECT_EQ(transform->to_json(), first) << threads;
  }
}

}  // namespace
}  // namespace freshet::worker
