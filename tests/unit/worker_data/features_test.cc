// Features beyond one category or number a row, classes and weights: what is fitted, and how rows are encoded.
#include "worker/data/features.h"

#include <gmock/gmock.h>

#include <cmath>

#include "tests/unit/worker_data/support.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;
using testing::FloatEq;
using testing::IsEmpty;

constexpr auto kNone = std::nullopt;

class FeaturesTest : public DataTest {
 protected:
  Result<Transform> fit(const v1::TabularModel& model, const Transform* previous = nullptr) {
    ASSIGN_OR_RETURN(const auto table, read(required_columns(model)));
    return Transform::fit(model, table, previous);
  }
  Result<EncodedRows> encode(const Transform& transform) {
    ASSIGN_OR_RETURN(const auto table, read(required_columns(transform.model())));
    return transform.encode(table);
  }
  // Fits and encodes everything in `data`.
  EncodedRows fitted(const v1::TabularModel& model) {
    auto transform = fit(model);
    EXPECT_TRUE(transform.is_ok()) << transform.status().message();
    auto rows = transform.is_ok() ? encode(*transform) : Result<EncodedRows>(transform.status());
    EXPECT_TRUE(rows.is_ok()) << rows.status().message();
    return rows.is_ok() ? *rows : EncodedRows();
  }
  std::string error_of(const v1::TabularModel& model) {
    auto transform = fit(model);
    EXPECT_FALSE(transform.is_ok());
    return transform.status().message();
  }
};

void hashed(v1::Feature* feature) { feature->set_hash_buckets(1000); }
void multi_valued(v1::Feature* feature) { feature->set_multi_valued(true); }
void separated(v1::Feature* feature) {
  feature->set_multi_valued(true);
  feature->set_separator("|");
}

// Recorded: a model that is in use has rows at these codes.
TEST(HashTest, is_the_same_for_ever) {
  EXPECT_EQ(hashed_code("", 1U << 30), 699787420);
  EXPECT_EQ(hashed_code("68fd1e64", 100'000), 29658);
  EXPECT_EQ(hashed_code("\xC3\xA9t\xC3\xA9", 7), 7);
}

TEST(HashTest, spreads_values_over_its_buckets) {
  std::vector<int> count(64);
  for (int i = 0; i < 64'000; ++i) ++count[static_cast<size_t>(hashed_code(std::to_string(i), 64)) - 1];
  // 1,000 in each, with a standard deviation of 31.
  for (int each : count) EXPECT_NEAR(each, 1000, 200);
}

TEST_F(FeaturesTest, hashed_categories_need_no_vocabulary) {
  add_bytes("a.csv", "c,y\nred,0\n,1\nblue,1\n");
  const v1::TabularModel model = RecipeBuilder().categorical("c").with(hashed).binary("y");
  auto transform = fit(model);
  ASSERT_TRUE(transform.is_ok()) << transform.status().message();
  EXPECT_THAT(transform->cardinalities(), ElementsAre(1001));
  EXPECT_THAT(encode(*transform)->categorical,
              ElementsAre(ElementsAre(hashed_code("red", 1000), 0, hashed_code("blue", 1000))));
  EXPECT_EQ(transform->to_json().find("red"), std::string::npos);
  data.clear_entries();
  add_bytes("b.csv", "c,y\ngreen,0\n");
  EXPECT_THAT(encode(*transform)->categorical, ElementsAre(ElementsAre(hashed_code("green", 1000))));
}

TEST_F(FeaturesTest, lists_have_any_number_of_values) {
  add_parquet("a.parquet", {{"tags", text_lists({Cells<std::string>{"b", "a"}, Cells<std::string>{}, kNone,
                                                 Cells<std::string>{"a", kNone, "c", "a"}})},
                            {"y", int_array({0, 1, 0, 1})}});
  add_parquet("b.parquet", {{"tags", text_lists({Cells<std::string>{"never"}, Cells<std::string>{"c"}})},
                            {"y", int_array({kNone, 1})}});
  const auto rows = fitted(RecipeBuilder().categorical("tags").with(multi_valued).binary("y"));
  EXPECT_EQ(rows.rows, 5U);
  EXPECT_THAT(rows.categorical, ElementsAre(ElementsAre(2, 1, 1, 3, 1, 3)));
  EXPECT_THAT(rows.ends, ElementsAre(ElementsAre(2, 2, 2, 5, 6)));
}

TEST_F(FeaturesTest, text_can_hold_many_values) {
  add_bytes("a.csv", "tags,one,y\nb|a,x,0\n,x,1\n||c,z,\na,z,1\n");
  auto transform = fit(RecipeBuilder().categorical("tags").with(separated).categorical("one").binary("y"));
  ASSERT_TRUE(transform.is_ok()) << transform.status().message();
  const auto rows = *encode(*transform);
  EXPECT_THAT(rows.categorical, ElementsAre(ElementsAre(2, 1, 1), ElementsAre(1, 1, 2)));
  EXPECT_THAT(rows.ends, ElementsAre(ElementsAre(2, 2, 3), IsEmpty()));
  data.clear_entries();
  add_bytes("b.csv", "tags,one,y\nnew|a,x,0\n");
  EXPECT_THAT(encode(*transform)->categorical[0], ElementsAre(0, 1));
}

TEST_F(FeaturesTest, a_list_where_one_value_is_expected_and_the_other_way_are_named) {
  add_parquet("a.parquet", {{"list", text_lists({Cells<std::string>{"b"}, kNone})},
                            {"one", text_array({"b", "c"})},
                            {"y", int_array({0, 1})}});
  EXPECT_EQ(
      error_of(RecipeBuilder().categorical("list").binary("y")),
      "column 'list' in a.parquet has the type list<element: string>, but categories (text, integers or booleans) "
      "are needed");
  EXPECT_EQ(error_of(RecipeBuilder().categorical("one").with(multi_valued).binary("y")),
            "column 'one' in a.parquet has the type string, but lists of categories are needed");
}

TEST_F(FeaturesTest, numbers_of_a_list_are_inputs_with_one_scaling) {
  add_parquet("a.parquet", {{"pixels", number_lists({Cells<double>{0, 4}, Cells<double>{4, 0}, kNone})},
                            {"y", int_array({0, 1, 1})}});
  auto transform =
      fit(RecipeBuilder().numeric("pixels").with([](auto* feature) { feature->set_length(2); }).binary("y"));
  ASSERT_TRUE(transform.is_ok()) << transform.status().message();
  EXPECT_EQ(transform->numeric_features(), 2U);
  EXPECT_THAT(encode(*transform)->numeric, ElementsAre(ElementsAre(-1, 1, 0), ElementsAre(1, -1, 0)));
}

TEST_F(FeaturesTest, lists_of_another_length_or_with_holes_are_refused) {
  const v1::TabularModel model =
      RecipeBuilder().numeric("x").with([](auto* feature) { feature->set_length(2); }).binary("y");
  add_parquet("a.parquet", {{"x", number_lists({Cells<double>{1, 2}, Cells<double>{3}})}, {"y", int_array({0, 1})}});
  EXPECT_EQ(error_of(model), "column 'x' in a.parquet has a list of 1 numbers where the recipe says 2");
  data.clear_entries();
  add_parquet("b.parquet", {{"x", number_lists({Cells<double>{1, kNone}})}, {"y", int_array({0})}});
  EXPECT_EQ(error_of(model), "column 'x' in b.parquet has a list with a number missing in it");
}

TEST_F(FeaturesTest, the_logarithm_of_a_number) {
  add_bytes("a.csv", "x,y\n0,0\n-5,1\n3,1\n,0\n");
  const auto rows = fitted(RecipeBuilder().numeric("x", v1::Feature::LOG).binary("y"));
  // 0, 0 and log(4): mean log(4)/3, deviation log(4) * sqrt(2)/3.
  const auto low = FloatEq(static_cast<float>(-1 / std::sqrt(2.0)));
  EXPECT_THAT(rows.numeric, ElementsAre(ElementsAre(low, low, FloatEq(static_cast<float>(std::sqrt(2.0))), 0)));
}

TEST_F(FeaturesTest, classes_are_the_sorted_values_of_the_label) {
  add_bytes("a.csv", "x,y\n1,fig\n2,apple\n3,\n4,pear\n5,fig\n");
  const v1::TabularModel model = RecipeBuilder().numeric("x").multiclass("y");
  auto transform = fit(model);
  ASSERT_TRUE(transform.is_ok()) << transform.status().message();
  EXPECT_EQ(transform->classes(), 3U);
  EXPECT_THAT(encode(*transform)->label, ElementsAre(1, 0, 2, 1));
  auto again = Transform::from_json(transform->to_json());
  ASSERT_TRUE(again.is_ok()) << again.status().message();
  EXPECT_EQ(again->classes(), 3U);

  data.clear_entries();
  add_bytes("b.csv", "x,y\n1,kiwi\n2,pear\n");
  const auto rows = encode(*transform);
  EXPECT_THAT(rows->label, ElementsAre(2));
  EXPECT_EQ(rows->dropped, 1U);
  auto grown = fit(model, &*transform);
  ASSERT_TRUE(grown.is_ok());
  EXPECT_THAT(encode(*grown)->label, ElementsAre(3, 2));
}

TEST_F(FeaturesTest, one_class_is_nothing_to_learn) {
  add_bytes("a.csv", "x,y\n1,7\n2,7\n");
  EXPECT_EQ(error_of(RecipeBuilder().numeric("x").multiclass("y")),
            "label 'y' is constant (all 7) over 2 training rows");
}

TEST_F(FeaturesTest, weights_count_in_what_is_fitted) {
  add_bytes("a.csv", "x,c,w,y\n0,a,3,10\n4,b,1,30\n99,never,0,50\n");
  auto transform = fit(RecipeBuilder().numeric("x").categorical("c").regression("y").weighted("w"));
  ASSERT_TRUE(transform.is_ok()) << transform.status().message();
  // Mean 1, variance (3 * 1 + 1 * 9) / 4 = 3.
  const auto rows = *encode(*transform);
  EXPECT_THAT(rows.numeric[0], ElementsAre(FloatEq(static_cast<float>(-1 / std::sqrt(3.0))),
                                           FloatEq(static_cast<float>(3 / std::sqrt(3.0))), testing::Gt(50)));
  EXPECT_THAT(rows.categorical, ElementsAre(ElementsAre(1, 2, 0)));
  EXPECT_THAT(rows.weight, ElementsAre(3, 1, 0));
  EXPECT_EQ(transform->label_mean(), 15);
}

TEST_F(FeaturesTest, weights_are_finite_and_not_negative) {
  const v1::TabularModel model = RecipeBuilder().numeric("x").binary("y").weighted("w");
  for (const std::string bad : {"-1", "nan", "inf", ""}) {
    data.clear_entries();
    add_bytes("a.csv", "x,w,y\n0,1,0\n1," + bad + ",1\n");
    EXPECT_EQ(error_of(model),
              "weight_column 'w' must be finite and 0 or more; in a.csv 1 of 2 rows have none or another")
        << bad;
  }
  data.clear_entries();
  add_bytes("a.csv", "x,w,y\n0,0,0\n1,0,1\n");
  EXPECT_EQ(error_of(model),
            "there are no rows to train on: label 'y' is missing or the weight 0 in all 2 rows of 1 entry");
}

TEST_F(FeaturesTest, weights_and_names_of_columns_leave_a_models_weights_usable) {
  add_bytes("a.csv", "x,w,y\n0,1,0\n1,2,1\n");
  auto transform = fit(RecipeBuilder().numeric("x").binary("y").weighted("w"));
  ASSERT_TRUE(transform.is_ok());
  EXPECT_TRUE(transform->same_features(RecipeBuilder().numeric("x").binary("y")));
  EXPECT_FALSE(transform->same_features(RecipeBuilder().numeric("x", v1::Feature::LOG).binary("y")));
}

TEST_F(FeaturesTest, options_of_another_kind_of_feature_are_refused) {
  add_bytes("a.csv", "x,y\n0,0\n1,1\n");
  EXPECT_EQ(error_of(RecipeBuilder().numeric("x").with(hashed).binary("y")),
            "feature 'x' has options that do not belong together");
  EXPECT_EQ(error_of(RecipeBuilder().categorical("x", v1::Feature::LOG).binary("y")),
            "feature 'x' has options that do not belong together");
}

}  // namespace
}  // namespace freshet::worker
