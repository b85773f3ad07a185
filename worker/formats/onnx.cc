#include "worker/formats/onnx.h"

#include <onnx/onnx_pb.h>

#include <set>

#include "base/version.h"
#include "worker/data/features.h"

namespace freshet::worker {
namespace {

constexpr int64_t kOperatorSet = 17;
constexpr const char* kRows = "rows";

Status check_supported(const v1::TabularModel& model) {
  auto refuse = [](const std::string& what) { return invalid_argument("to ONNX: " + what + " can't be exported yet"); };
  if (model.interaction() != v1::TabularModel::NONE) return refuse("a model whose features interact");
  if (model.numeric_layers_size() > 0) return refuse("numeric_layers");
  if (model.label().task() == v1::Label::MULTICLASS) return refuse("a model of classes");
  for (const auto& feature : model.features()) {
    if (feature.multi_valued()) return refuse("the feature " + feature.column() + " with several values a row");
  }
  return Status::ok();
}

// Names of the numeric features, in their order.
std::vector<std::string> numeric_names(const v1::TabularModel& model) {
  std::vector<std::string> names;
  for (const auto& feature : model.features()) {
    if (is_categorical(feature)) continue;
    for (uint32_t i = 0; i < feature.length(); ++i) names.push_back(feature.column() + "." + std::to_string(i));
    if (feature.length() == 0) names.push_back(feature.column());
  }
  return names;
}

// A chain of nodes; each new one takes what the one before made.
class Graph {
 public:
  explicit Graph(onnx::GraphProto* graph) : graph_(*graph) {}

  void input(const std::string& name, onnx::TensorProto::DataType type) {
    describe(graph_.add_input(), name, type);
    inputs_.push_back(name);
  }
  void output(const std::string& name) { describe(graph_.add_output(), name, onnx::TensorProto::FLOAT); }

  const std::string& tensor(const std::string& name, const std::vector<uint64_t>& shape, const float* values) {
    auto* made = constant(name, shape, onnx::TensorProto::FLOAT);
    size_t count = 1;
    for (uint64_t dimension : shape) count *= dimension;
    made->set_raw_data(values, count * sizeof(float));  // little endian, as the format wants it
    return made->name();
  }
  const std::string& whole_numbers(const std::string& name, const std::vector<int64_t>& values) {
    auto* made = constant(name, {values.size()}, onnx::TensorProto::INT64);
    made->set_raw_data(values.data(), values.size() * sizeof(int64_t));
    return made->name();
  }

  onnx::NodeProto* node(const std::string& operation, const std::vector<std::string>& inputs, const std::string& out) {
    auto* made = graph_.add_node();
    made->set_op_type(operation);
    made->set_name(out);
    for (const auto& input : inputs) made->add_input(input);
    made->add_output(out);
    return made;
  }
  static void attribute(onnx::NodeProto* node, const std::string& name, int64_t value) {
    auto* made = node->add_attribute();
    made->set_name(name);
    made->set_type(onnx::AttributeProto::INT);
    made->set_i(value);
  }

  const std::vector<std::string>& inputs() const { return inputs_; }

 private:
  static void describe(onnx::ValueInfoProto* value, const std::string& name, onnx::TensorProto::DataType type) {
    value->set_name(name);
    auto* tensor = value->mutable_type()->mutable_tensor_type();
    tensor->set_elem_type(type);
    tensor->mutable_shape()->add_dim()->set_dim_param(kRows);
  }
  onnx::TensorProto* constant(const std::string& name, const std::vector<uint64_t>& shape,
                              onnx::TensorProto::DataType type) {
    auto* made = graph_.add_initializer();
    made->set_name(name);
    made->set_data_type(type);
    for (uint64_t dimension : shape) made->add_dims(static_cast<int64_t>(dimension));
    return made;
  }

  onnx::GraphProto& graph_;
  std::vector<std::string> inputs_;
};

// Names of what is inside the graph begin or go on with a slash, so that no column has them.
// Embeddings and numeric features side by side, as "/features".
void add_features(const ModelArtifact& artifact, const std::vector<std::string>& numeric, Graph* graph) {
  std::vector<std::string> parts;
  for (const auto& feature : artifact.model.shape().categorical) {
    graph->input(feature.name, onnx::TensorProto::INT64);
    parts.push_back(feature.name + "/embedded");
    graph->node("Gather", {"embedding." + feature.name + ".weight", feature.name}, parts.back());
  }
  const std::string axis = graph->whole_numbers("/last_axis", {1});
  for (const auto& name : numeric) {
    graph->input(name, onnx::TensorProto::FLOAT);
    parts.push_back(name + "/column");
    graph->node("Unsqueeze", {name, axis}, parts.back());
  }
  Graph::attribute(graph->node("Concat", parts, "/features"), "axis", 1);
}

// "/output" is [rows].
void add_layers(const ModelArtifact& artifact, Graph* graph) {
  std::string at = "/features";
  auto product = [&](const std::string& layer) {
    auto* node = graph->node("Gemm", {at, layer + ".weight", layer + ".bias"}, layer + "/sum");
    Graph::attribute(node, "transB", 1);
    at = layer + "/sum";
  };
  for (size_t i = 0; i < artifact.model.shape().hidden.size(); ++i) {
    const std::string layer = "layers." + std::to_string(i);
    product(layer);
    graph->node("Relu", {at}, layer + "/active");
    at = layer + "/active";
  }
  product("output");
  graph->node("Squeeze", {at, "/last_axis"}, "/output");
}

void add_outputs(const ModelArtifact& artifact, Graph* graph) {
  if (artifact.model.shape().binary) {
    graph->node("Identity", {"/output"}, "logit");
    graph->node("Sigmoid", {"/output"}, "probability");
    graph->output("logit");
    graph->output("probability");
    return;
  }
  const auto scale = static_cast<float>(artifact.transform.label_scale());
  const auto mean = static_cast<float>(artifact.transform.label_mean());
  graph->node("Mul", {"/output", graph->tensor("/label_scale", {}, &scale)}, "/scaled");
  graph->node("Add", {"/scaled", graph->tensor("/label_mean", {}, &mean)}, "value");
  graph->output("value");
}

void add_metadata(const ModelArtifact& artifact, const std::vector<std::string>& inputs, onnx::ModelProto* model) {
  auto add = [&](const std::string& key, const std::string& value) {
    auto* made = model->add_metadata_props();
    made->set_key(key);
    made->set_value(value);
  };
  std::string names;
  for (const auto& name : inputs) names += (names.empty() ? "" : "\n") + name;
  add("freshet.inputs", names);
  add("freshet.label", artifact.transform.model().label().column());
  add("freshet.weights_digest", artifact.checkpoint.weights_digest());
}

}  // namespace

Result<std::string> to_onnx(const ModelArtifact& artifact) {
  RETURN_IF_ERROR(check_supported(artifact.transform.model()));
  const auto numeric = numeric_names(artifact.transform.model());
  if (numeric.size() != artifact.model.shape().numeric) return internal("the model has other features than its recipe");
  std::set<std::string> names(numeric.begin(), numeric.end());
  names.insert({"logit", "probability", "value"});
  for (const auto& feature : artifact.model.shape().categorical) names.insert(feature.name);
  if (names.size() != 3 + numeric.size() + artifact.model.shape().categorical.size()) {
    return invalid_argument(
        "to ONNX: a feature has the name of another, or of an output (logit, probability, value); the graph's inputs "
        "need names of their own");
  }
  onnx::ModelProto model;
  model.set_ir_version(8);  // the one that came with operator set 17
  model.set_producer_name("freshet");
  model.set_producer_version(kVersion);
  model.add_opset_import()->set_version(kOperatorSet);
  model.mutable_graph()->set_name("tabular");
  Graph graph(model.mutable_graph());
  for (const auto& tensor : artifact.model.tensors()) {
    graph.tensor(tensor.name, tensor.shape, artifact.parameters.data() + tensor.offset);
  }
  add_features(artifact, numeric, &graph);
  add_layers(artifact, &graph);
  add_outputs(artifact, &graph);
  add_metadata(artifact, graph.inputs(), &model);
  std::string bytes;
  if (!model.SerializeToString(&bytes)) return invalid_argument("to ONNX: the model is larger than a file of 2 GiB");
  return bytes;
}

}  // namespace freshet::worker
