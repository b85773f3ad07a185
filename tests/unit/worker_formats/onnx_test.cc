// The graph of a tabular model, evaluated here as the operators' definition says, predicts what the model predicts.
// tests/integration/formats_test.py has onnxruntime do the same.
#include "worker/formats/onnx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <boost/json.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>

#include "proto/json.h"
#include "proto/transform.pb.h"
#include "tests/unit/worker/temp_dir.h"
#include "worker/model/predict.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;
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
  return state;
}

EncodedRows some_rows() {
  EncodedRows rows;
  rows.rows = kRows;
  rows.categorical.resize(2);
  rows.numeric.resize(2);
  for (size_t r = 0; r < kRows; ++r) {
    rows.categorical[0].push_back(static_cast<int32_t>(r % 3));
    rows.categorical[1].push_back(static_cast<int32_t>((r + 1) % 3));
    rows.numeric[0].push_back(static_cast<float>(r) / 4 - 1);
    rows.numeric[1].push_back(1 - static_cast<float>(r * r) / 50);
  }
  return rows;
}

struct Tensor {
  std::vector<int64_t> shape;
  std::vector<double> values;
};

// The operators of the graph, by ONNX's definition of them.
class Evaluation {
 public:
  explicit Evaluation(const onnx::GraphProto& graph) {
    for (const auto& constant : graph.initializer()) {
      Tensor made{{constant.dims().begin(), constant.dims().end()}, {}};
      const bool is_float = constant.data_type() == onnx::TensorProto::FLOAT;
      const std::string& raw = constant.raw_data();
      for (size_t at = 0; at < raw.size(); at += is_float ? 4 : 8) {
        float real = 0;
        int64_t whole = 0;
        std::memcpy(is_float ? static_cast<void*>(&real) : &whole, raw.data() + at, is_float ? 4 : 8);
        made.values.push_back(is_float ? static_cast<double>(real) : static_cast<double>(whole));
      }
      tensors[constant.name()] = made;
    }
  }
  void run(const onnx::GraphProto& graph) {
    for (const auto& node : graph.node()) tensors[node.output(0)] = result(node);
  }
  std::map<std::string, Tensor> tensors;

 private:
  Tensor result(const onnx::NodeProto& node) {
    std::vector<Tensor> in;
    for (const auto& name : node.input()) in.push_back(tensors.at(name));
    const std::string& operation = node.op_type();
    const auto rows = static_cast<int64_t>(kRows);
    Tensor out;
    if (operation == "Gather") {
      const int64_t width = in[0].shape.at(1);
      out.shape = {rows, width};
      for (double code : in[1].values) {
        for (int64_t i = 0; i < width; ++i) {
          out.values.push_back(in[0].values.at(static_cast<size_t>(static_cast<int64_t>(code) * width + i)));
        }
      }
    } else if (operation == "Unsqueeze" || operation == "Squeeze") {
      EXPECT_THAT(in[1].values, ElementsAre(1));
      out.values = in[0].values;
      out.shape = operation == "Squeeze" ? std::vector<int64_t>{rows} : std::vector<int64_t>{rows, 1};
    } else if (operation == "Concat") {
      EXPECT_EQ(node.attribute(0).i(), 1);
      int64_t width = 0;
      for (const auto& part : in) width += part.shape.at(1);
      out.shape = {rows, width};
      for (int64_t r = 0; r < rows; ++r) {
        for (const auto& part : in) {
          const int64_t own = part.shape.at(1);
          for (int64_t i = 0; i < own; ++i) out.values.push_back(part.values.at(static_cast<size_t>(r * own + i)));
        }
      }
    } else if (operation == "Gemm") {
      EXPECT_EQ(node.attribute(0).name(), "transB");
      const int64_t inner = in[0].shape.at(1), outputs = in[1].shape.at(0);
      out.shape = {rows, outputs};
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t o = 0; o < outputs; ++o) {
          double sum = in[2].values.at(static_cast<size_t>(o));
          for (int64_t k = 0; k < inner; ++k) {
            sum += in[0].values.at(static_cast<size_t>(r * inner + k)) *
                   in[1].values.at(static_cast<size_t>(o * inner + k));
          }
          out.values.push_back(sum);
        }
      }
    } else {
      out = in[0];
      for (double& value : out.values) {
        if (operation == "Relu") value = std::max(value, 0.0);
        if (operation == "Sigmoid") value = 1 / (1 + std::exp(-value));
        if (operation == "Mul") value *= in[1].values.at(0);
        if (operation == "Add") value += in[1].values.at(0);
      }
    }
    return out;
  }
};

// For onnxruntime: the graph, its inputs and what the model predicts.
void hand_over(const std::string& name, const std::string& bytes, const EncodedRows& rows,
               const std::vector<float>& predicted) {
  const char* directory = std::getenv("FRESHET_ONNX_OUTPUT");
  if (directory == nullptr) return;
  const boost::json::object inputs = {{"color", boost::json::value_from(rows.categorical[0])},
                                      {"shape", boost::json::value_from(rows.categorical[1])},
                                      {"size", boost::json::value_from(rows.numeric[0])},
                                      {"age", boost::json::value_from(rows.numeric[1])}};
  const boost::json::object root = {{"inputs", inputs}, {"predicted", boost::json::value_from(predicted)}};
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
  for (auto task : {v1::Label::BINARY, v1::Label::REGRESSION}) {
    std::filesystem::remove_all(dir_.path() / "model");
    const bool is_binary = task == v1::Label::BINARY;
    const ModelArtifact made = artifact(state_of(task));
    auto bytes = to_onnx(made);
    ASSERT_TRUE(bytes.is_ok()) << bytes.status().to_string();
    onnx::ModelProto model;
    ASSERT_TRUE(model.ParseFromString(*bytes));
    Evaluation evaluation(model.graph());
    const EncodedRows rows = some_rows();
    for (int i = 0; i < 2; ++i) {
      const auto& codes = rows.categorical[static_cast<size_t>(i)];
      const auto& numbers = rows.numeric[static_cast<size_t>(i)];
      evaluation.tensors[i == 0 ? "color" : "shape"] = {{kRows}, {codes.begin(), codes.end()}};
      evaluation.tensors[i == 0 ? "size" : "age"] = {{kRows}, {numbers.begin(), numbers.end()}};
    }
    evaluation.run(model.graph());
    auto predictor = load_predictor(dir_.path() / "model");
    ASSERT_TRUE(predictor.is_ok()) << predictor.status().to_string();
    auto predicted = (*predictor)->predict(rows, 1);
    ASSERT_TRUE(predicted.is_ok()) << predicted.status().to_string();
    hand_over(is_binary ? "binary" : "regression", *bytes, rows, *predicted);
    const Tensor& out = evaluation.tensors.at(is_binary ? "logit" : "value");
    for (size_t r = 0; r < kRows; ++r) {
      // Sums of at most 8 products of numbers of that size, in float on one side.
      const double expected = static_cast<double>((*predicted)[r]);
      EXPECT_NEAR(out.values[r], expected, 1e-5 * (1 + std::abs(expected))) << r;
      if (!is_binary) continue;
      EXPECT_NEAR(evaluation.tensors.at("probability").values[r], 1 / (1 + std::exp(-expected)), 1e-5) << r;
    }
  }
}

TEST_F(Onnx, SaysWhatItIs) {
  const ModelArtifact made = artifact(state_of(v1::Label::BINARY));
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(to_onnx(made).value()));
  EXPECT_EQ(model.opset_import(0).version(), 17);
  std::map<std::string, std::string> metadata;
  for (const auto& item : model.metadata_props()) metadata[item.key()] = item.value();
  EXPECT_EQ(metadata["freshet.inputs"], "color\nshape\nsize\nage");
  EXPECT_EQ(metadata["freshet.label"], "y");
  EXPECT_EQ(metadata["freshet.weights_digest"], made.checkpoint.weights_digest());
  EXPECT_EQ(to_onnx(made).value(), to_onnx(made).value());
}

TEST_F(Onnx, FeatureWithTheNameOfAnOutputIsRefused) {
  auto state = state_of(v1::Label::BINARY);
  state.mutable_model()->mutable_features(1)->set_column("logit");
  auto bytes = to_onnx(artifact(state));
  ASSERT_FALSE(bytes.is_ok());
  EXPECT_THAT(bytes.status().message(), HasSubstr("a feature has the name"));
}

}  // namespace
}  // namespace freshet::worker
