// The graph of a tabular model, evaluated here as the operators' definition says, predicts what the model predicts.
// tests/integration/formats_test.py has onnxruntime do the same.
#include "worker/formats/onnx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <boost/json.hpp>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>

#include "proto/json.h"
#include "proto/transform.pb.h"
#include "tests/unit/worker/temp_dir.h"
#include "tests/unit/worker_formats/onnx_evaluation.h"
#include "worker/model/predict.h"

namespace freshet::worker {
namespace {

using testing::HasSubstr;

constexpr size_t kRows = 9;

v1::TransformState state_of(v1::Label::Task task) {
  v1::TransformState state;
  auto* model = state.mutable_model();
  const std::vector<std::pair<std::string, v1::Feature::Kind>> features = {{"color", v1::Feature::CATEGORICAL},
                                                                           {"size", v1::Feature::NUMERIC},
                                                                           {"shape", v1::Feature::CATEGORICAL},
                                                                           {"age", v1::Feature::NUMERIC}};
  for (const auto& [name, kind] : features) {
    auto* feature = model->add_features();
    feature->set_column(name);
    feature->set_kind(kind);
    if (kind == v1::Feature::CATEGORICAL) {
      feature->set_embedding_dim(3);
      state.add_vocabularies()->add_words("a");
      state.mutable_vocabularies()->rbegin()->add_words("b");
    } else {
      state.add_scalings()->set_scale(1);
    }
  }
  model->mutable_label()->set_column("y");
  model->mutable_label()->set_task(task);
  model->add_hidden_layers(5);
  model->add_hidden_layers(4);
  if (task == v1::Label::REGRESSION) {
    state.mutable_label()->set_mean(100);
    state.mutable_label()->set_scale(10);
  }
  if (task == v1::Label::MULTICLASS) {
    for (const char* word : {"a", "b", "c\nc", "d", "e"}) state.mutable_classes()->add_words(word);
  }
  return state;
}

v1::TransformState dlrm() {
  auto state = state_of(v1::Label::BINARY);
  state.mutable_model()->set_interaction(v1::TabularModel::DOT);
  state.mutable_model()->add_numeric_layers(6);
  state.mutable_model()->add_numeric_layers(3);
  return state;
}

v1::TransformState dot_without_numbers() {
  auto state = state_of(v1::Label::BINARY);
  auto* features = state.mutable_model()->mutable_features();
  features->DeleteSubrange(3, 1);
  features->DeleteSubrange(1, 1);
  state.clear_scalings();
  state.mutable_model()->set_interaction(v1::TabularModel::DOT);
  return state;
}

v1::TransformState crossed(uint32_t rank) {
  auto state = state_of(v1::Label::REGRESSION);
  state.mutable_model()->set_interaction(v1::TabularModel::CROSS);
  state.mutable_model()->set_cross_layers(2);
  state.mutable_model()->set_cross_rank(rank);
  return state;
}

v1::TransformState multi_valued() {
  auto state = dlrm();
  state.mutable_model()->mutable_features(2)->set_multi_valued(true);
  return state;
}

v1::TransformState without_hidden_layers() {
  auto state = state_of(v1::Label::BINARY);
  state.mutable_model()->clear_hidden_layers();
  state.mutable_model()->add_numeric_layers(4);
  return state;
}

// Of the multi-valued feature, the row r has r % 4 codes; the first has none.
EncodedRows rows_for(const TabularShape& shape) {
  EncodedRows rows;
  rows.rows = kRows;
  rows.categorical.resize(2);
  rows.ends.resize(2);
  rows.numeric.resize(shape.numeric);
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t f = 0; f < 2; ++f) {
      auto& codes = rows.categorical[f];
      if (!shape.categorical[f].multi_valued) {
        codes.push_back(static_cast<int32_t>((r + f) % 3));
        continue;
      }
      for (size_t i = 0; i < r % 4; ++i) codes.push_back(static_cast<int32_t>((r + i * i) % 3));
      rows.ends[f].push_back(static_cast<uint32_t>(codes.size()));
    }
    if (shape.numeric == 0) continue;
    rows.numeric[0].push_back(static_cast<float>(r) / 4 - 1);
    rows.numeric[1].push_back(1 - static_cast<float>(r * r) / 50);
  }
  return rows;
}

// What a graph takes, by name.
std::map<std::string, Tensor> inputs_of(const TabularShape& shape, const EncodedRows& rows) {
  std::map<std::string, Tensor> inputs;
  for (size_t f = 0; f < 2; ++f) {
    const auto& codes = rows.categorical[f];
    Tensor& input = inputs[shape.categorical[f].name];
    if (!shape.categorical[f].multi_valued) {
      input = {{kRows}, {codes.begin(), codes.end()}};
      continue;
    }
    constexpr size_t kValues = 3;
    input = {{kRows, kValues}, std::vector<double>(kRows * kValues, -1)};
    for (size_t r = 0, at = 0; r < kRows; ++r) {
      for (size_t i = 0; at < rows.ends[f][r]; ++i, ++at) input.values[r * kValues + i] = codes[at];
    }
  }
  for (size_t f = 0; f < rows.numeric.size(); ++f) {
    inputs[f == 0 ? "size" : "age"] = {{kRows}, {rows.numeric[f].begin(), rows.numeric[f].end()}};
  }
  return inputs;
}

// For onnxruntime: the graph, its inputs and what the model predicts.
void hand_over(const std::string& name, const std::string& bytes, const std::map<std::string, Tensor>& inputs,
               const std::string& output, const std::vector<float>& predicted) {
  const char* directory = std::getenv("FRESHET_ONNX_OUTPUT");
  if (directory == nullptr) return;
  boost::json::object values;
  for (const auto& [input, tensor] : inputs) {
    values[input] = {{"shape", boost::json::value_from(tensor.shape)},
                     {"values", boost::json::value_from(tensor.values)}};
  }
  const boost::json::object root = {
      {"inputs", values}, {"output", output}, {"predicted", boost::json::value_from(predicted)}};
  std::ofstream(std::string(directory) + "/" + name + ".onnx", std::ios::binary) << bytes;
  std::ofstream(std::string(directory) + "/" + name + ".json") << boost::json::serialize(root);
}

class Onnx : public testing::Test {
 protected:
  // Saved, for load_predictor(), and loaded.
  ModelArtifact artifact(const v1::TransformState& state) {
    auto transform = Transform::from_json(to_canonical_json(state));
    EXPECT_TRUE(transform.is_ok()) << transform.status().to_string();
    auto model = TabularModel::create(TabularShape::of(*transform));
    EXPECT_TRUE(model.is_ok());
    std::vector<float> parameters(model->parameters()), zeros(model->parameters());
    model->initialise(3, parameters.data());
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i] += 0.01F * static_cast<float>(i % 5);  // biases too
    auto saved = save_model(dir_.path(), *transform, *model, {parameters, zeros, zeros}, {});
    EXPECT_TRUE(saved.is_ok()) << saved.status().to_string();
    return load_model(dir_.path() / "model").value();
  }
  TempDir dir_;
};

TEST_F(Onnx, PredictsWhatTheModelPredicts) {
  const std::map<std::string, v1::TransformState> states = {{"binary", state_of(v1::Label::BINARY)},
                                                            {"regression", state_of(v1::Label::REGRESSION)},
                                                            {"classes", state_of(v1::Label::MULTICLASS)},
                                                            {"dlrm", dlrm()},
                                                            {"dot_without_numbers", dot_without_numbers()},
                                                            {"cross", crossed(0)},
                                                            {"cross_low_rank", crossed(2)},
                                                            {"multi_valued", multi_valued()},
                                                            {"without_hidden_layers", without_hidden_layers()}};
  for (const auto& [name, state] : states) {
    SCOPED_TRACE(name);
    std::filesystem::remove_all(dir_.path() / "model");
    const ModelArtifact made = artifact(state);
    const TabularShape& shape = made.model.shape();
    auto bytes = to_onnx(made);
    ASSERT_TRUE(bytes.is_ok()) << bytes.status().to_string();
    onnx::ModelProto model;
    ASSERT_TRUE(model.ParseFromString(*bytes));
    const EncodedRows rows = rows_for(shape);
    const auto inputs = inputs_of(shape, rows);
    EXPECT_EQ(static_cast<size_t>(model.graph().input_size()), inputs.size());
    Evaluation evaluation(model.graph());
    evaluation.tensors.insert(inputs.begin(), inputs.end());
    evaluation.run(model.graph());
    auto predictor = load_predictor(dir_.path() / "model");
    ASSERT_TRUE(predictor.is_ok()) << predictor.status().to_string();
    auto predicted = (*predictor)->predict(rows, 1);
    ASSERT_TRUE(predicted.is_ok()) << predicted.status().to_string();
    const std::string output = shape.classes > 0 ? "logits" : shape.binary ? "logit" : "value";
    hand_over(name, *bytes, inputs, output, *predicted);
    const auto& found = evaluation.tensors.at(output).values;
    ASSERT_EQ(found.size(), predicted->size());
    for (size_t i = 0; i < found.size(); ++i) {
      // Sums of at most 8 products of numbers of that size, a few times over, in float on one side.
      const double expected = static_cast<double>((*predicted)[i]);
      EXPECT_NEAR(found[i], expected, 1e-5 * (1 + std::abs(expected))) << i;
      if (shape.classes > 0) {
        double sum = 0;
        for (size_t c = 0; c < shape.classes; ++c) {
          sum += std::exp(static_cast<double>((*predicted)[i / shape.classes * shape.classes + c]));
        }
        EXPECT_NEAR(evaluation.tensors.at("probabilities").values[i], std::exp(expected) / sum, 1e-5) << i;
      } else if (shape.binary) {
        EXPECT_NEAR(evaluation.tensors.at("probability").values[i], 1 / (1 + std::exp(-expected)), 1e-5) << i;
      }
    }
  }
}

std::map<std::string, std::string> metadata_of(const onnx::ModelProto& model) {
  std::map<std::string, std::string> metadata;
  for (const auto& item : model.metadata_props()) metadata[item.key()] = item.value();
  return metadata;
}

TEST_F(Onnx, SaysWhatItIs) {
  const ModelArtifact made = artifact(state_of(v1::Label::BINARY));
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(to_onnx(made).value()));
  EXPECT_EQ(model.opset_import(0).version(), 17);
  auto metadata = metadata_of(model);
  EXPECT_EQ(metadata["freshet.inputs"], "color\nshape\nsize\nage");
  EXPECT_EQ(metadata["freshet.label"], "y");
  EXPECT_EQ(metadata["freshet.weights_digest"], made.checkpoint.weights_digest());
  EXPECT_FALSE(metadata.contains("freshet.padded_inputs") || metadata.contains("freshet.classes"));
  EXPECT_EQ(to_onnx(made).value(), to_onnx(made).value());
}

TEST_F(Onnx, SaysWhichInputsArePaddedAndWhatTheClassesAre) {
  auto state = state_of(v1::Label::MULTICLASS);
  state.mutable_model()->mutable_features(2)->set_multi_valued(true);
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(to_onnx(artifact(state)).value()));
  auto metadata = metadata_of(model);
  EXPECT_EQ(metadata["freshet.padded_inputs"], "shape");
  EXPECT_EQ(metadata["freshet.classes"], R"(["a","b","c\nc","d","e"])");
  const auto& padded = model.graph().input(1).type().tensor_type().shape();
  EXPECT_EQ(padded.dim(0).dim_param(), "rows");
  EXPECT_EQ(padded.dim(1).dim_param(), "shape/values");
  EXPECT_EQ(model.graph().output(1).type().tensor_type().shape().dim(1).dim_value(), 5);
}

TEST_F(Onnx, FeatureWithTheNameOfAnotherPartIsRefused) {
  for (const char* name : {"logit", "color", "output.bias"}) {
    std::filesystem::remove_all(dir_.path() / "model");
    auto state = state_of(v1::Label::BINARY);
    state.mutable_model()->mutable_features(1)->set_column(name);
    auto bytes = to_onnx(artifact(state));
    ASSERT_FALSE(bytes.is_ok()) << name;
    EXPECT_THAT(bytes.status().message(), HasSubstr(std::string("a feature has the name ") + name));
  }
}

}  // namespace
}  // namespace freshet::worker
