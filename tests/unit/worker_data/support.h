// What the tests of the worker's data need: a temporary directory as a source, files written by Arrow itself, recipes
// and a model with known predictions.
#pragma once

#include <arrow/api.h>
#include <gtest/gtest.h>
#include <parquet/arrow/writer.h>

#include <filesystem>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proto/attempt.pb.h"
#include "proto/dataset.pb.h"
#include "proto/recipe.pb.h"
#include "worker/data/table.h"
#include "worker/data/table_stream.h"
#include "worker/data/transform.h"
#include "worker/model/predict.h"

namespace freshet::worker {

using Array = std::shared_ptr<arrow::Array>;
using NamedArrays = std::vector<std::pair<std::string, Array>>;

// nullopt is a missing value.
template <class T>
using Cells = std::vector<std::optional<T>>;

Array text_array(const Cells<std::string>& cells);
Array large_text_array(const Cells<std::string>& cells);
Array binary_array(const Cells<std::string>& cells);
Array bool_array(const Cells<bool>& cells);
Array time_array(arrow::TimeUnit::type unit, const Cells<int64_t>& cells, const std::string& zone = "");
Array date_array(const Cells<int32_t>& days);
// A dictionary array over these words.
Array dictionary_array(const Array& words, const Cells<int32_t>& indices);
// The number of a row as a list column of one number.
Array list_array(size_t rows);
// Lists, of which a row may have none.
Array text_lists(const Cells<Cells<std::string>>& rows);
Array number_lists(const Cells<Cells<double>>& rows);

// Builder: arrow::Int64Builder and the like.
template <class Builder, class T>
Array number_array(const Cells<T>& cells) {
  Builder builder;
  for (const auto& cell : cells) {
    auto status = cell ? builder.Append(static_cast<typename Builder::value_type>(*cell)) : builder.AppendNull();
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  return builder.Finish().ValueOrDie();
}
Array int_array(const Cells<int64_t>& cells);
Array real_array(const Cells<double>& cells);

// All rows of `data` at once, each entry whole.
Result<Table> read_table(const v1::DatasetVersion& data, const ColumnSet& columns, unsigned threads);

// A temporary directory that is a source, removed at the end.
class DataTest : public testing::Test {
 protected:
  DataTest();
  ~DataTest() override;

  // Writes a file and adds it to `data` with its digest.
  void add_parquet(const std::string& uri, const NamedArrays& columns, int64_t rows_per_group = 1 << 20);
  void add_bytes(const std::string& uri, const std::string& bytes);
  // Replaces the bytes of a file behind the back of `data`.
  void write_bytes(const std::string& uri, const std::string& bytes);
  std::string read_bytes(const std::string& uri) const;

  Result<Table> read(const std::vector<ColumnRequest>& requests, unsigned threads = 2) const {
    return read_table(data, {requests, {}}, threads);
  }

  std::filesystem::path directory;
  v1::DatasetVersion data;
};

// Builds a v1::TabularModel.
class RecipeBuilder {
 public:
  RecipeBuilder& numeric(const std::string& column, v1::Feature::Derive derive = v1::Feature::NONE);
  RecipeBuilder& categorical(const std::string& column, v1::Feature::Derive derive = v1::Feature::NONE,
                             uint32_t embedding_dim = 0);
  RecipeBuilder& binary(const std::string& column, std::optional<double> positive_above = {});
  RecipeBuilder& regression(const std::string& column);
  RecipeBuilder& multiclass(const std::string& column);
  RecipeBuilder& weighted(const std::string& column);
  // The feature that was added last, to say more about it.
  RecipeBuilder& with(const std::function<void(v1::Feature*)>& change);
  operator v1::TabularModel() const { return model_; }  // NOLINT(google-explicit-constructor): a builder

 private:
  v1::TabularModel model_;
};

// A model that computes its prediction from the encoded row by a given rule.
class FakePredictor final : public Predictor {
 public:
  using Rule = std::function<float(const EncodedRows&, size_t row)>;

  FakePredictor(Transform transform, Rule rule) : transform_(std::move(transform)), rule_(std::move(rule)) {}
  const Transform& transform() const override { return transform_; }
  Result<std::vector<float>> predict(const EncodedRows& rows, unsigned) const override {
    std::vector<float> predictions;
    for (size_t row = 0; row < rows.rows; ++row) predictions.push_back(rule_(rows, row));
    return predictions;
  }

 private:
  Transform transform_;
  Rule rule_;
};

}  // namespace freshet::worker
