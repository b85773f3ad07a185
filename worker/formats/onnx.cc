#include "worker/formats/onnx.h"

#include <onnx/onnx_pb.h>

#include <boost/json.hpp>
#include <set>
#include <variant>

#include "base/version.h"
#include "worker/data/features.h"

namespace freshet::worker {
namespace {

constexpr int64_t kOperatorSet = 17;
constexpr const char* kRows = "rows";

using Interaction = TabularShape::Interaction;

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

// Sizes of a tensor: numbers, or names of sizes that a run of the graph brings.
using Dimensions = std::vector<std::variant<int64_t, std::string>>;

// The graph as it grows. What makes a tensor returns its name.
class Graph {
 public:
  explicit Graph(onnx::GraphProto* graph) : graph_(*graph) {}

  void input(const std::string& name, onnx::TensorProto::DataType type, const Dimensions& dimensions,
             const std::string& meaning) {
    define(name);
    describe(graph_.add_input(), name, type, dimensions, meaning);
    inputs_.push_back(name);
  }
  // Of a tensor that is there.
  void output(const std::string& name, const Dimensions& dimensions, const std::string& meaning) {
    describe(graph_.add_output(), name, onnx::TensorProto::FLOAT, dimensions, meaning);
  }

  std::string tensor(const std::string& name, const std::vector<uint64_t>& shape, const float* values) {
    size_t count = 1;
    for (uint64_t dimension : shape) count *= dimension;
    constant(name, shape, onnx::TensorProto::FLOAT)->set_raw_data(values, count * sizeof(float));  // little endian
    return name;
  }
  std::string whole_numbers(const std::string& name, const std::vector<int64_t>& values) {
    auto* made = constant(name, {values.size()}, onnx::TensorProto::INT64);
    made->set_raw_data(values.data(), values.size() * sizeof(int64_t));
    return name;
  }

  // For operations that take an axis as a tensor: the second one.
  std::string axis_1() { return names_.contains("/axis_1") ? "/axis_1" : whole_numbers("/axis_1", {1}); }

  struct Attribute {
    std::string name;
    std::vector<int64_t> values;  // of one, a number; else a list
  };
  // `out`, which the operation makes.
  std::string node(const std::string& operation, const std::vector<std::string>& inputs, const std::string& out,
                   const std::vector<Attribute>& attributes = {}) {
    define(out);
    auto* made = graph_.add_node();
    made->set_op_type(operation);
    made->set_name(out);
    for (const auto& input : inputs) made->add_input(input);
    made->add_output(out);
    for (const auto& [name, values] : attributes) {
      auto* attribute = made->add_attribute();
      attribute->set_name(name);
      const bool is_list = values.size() > 1;
      attribute->set_type(is_list ? onnx::AttributeProto::INTS : onnx::AttributeProto::INT);
      if (!is_list) attribute->set_i(values.at(0));
      for (int64_t value : is_list ? values : std::vector<int64_t>{}) attribute->add_ints(value);
    }
    return out;
  }

  const std::vector<std::string>& inputs() const { return inputs_; }
  // A name that two tensors have; "" when each has its own.
  const std::string& clash() const { return clash_; }

 private:
  void define(const std::string& name) {
    if (!names_.insert(name).second) clash_ = name;
  }
  static void describe(onnx::ValueInfoProto* value, const std::string& name, onnx::TensorProto::DataType type,
                       const Dimensions& dimensions, const std::string& meaning) {
    value->set_name(name);
    value->set_doc_string(meaning);
    auto* tensor = value->mutable_type()->mutable_tensor_type();
    tensor->set_elem_type(type);
    for (const auto& dimension : dimensions) {
      auto* made = tensor->mutable_shape()->add_dim();
      if (const auto* size = std::get_if<int64_t>(&dimension)) {
        made->set_dim_value(*size);
      } else {
        made->set_dim_param(std::get<std::string>(dimension));
      }
    }
  }
  onnx::TensorProto* constant(const std::string& name, const std::vector<uint64_t>& shape,
                              onnx::TensorProto::DataType type) {
    define(name);
    auto* made = graph_.add_initializer();
    made->set_name(name);
    made->set_data_type(type);
    for (uint64_t dimension : shape) made->add_dims(static_cast<int64_t>(dimension));
    return made;
  }

  onnx::GraphProto& graph_;
  std::vector<std::string> inputs_;
  std::set<std::string> names_;
  std::string clash_;
};

// What follows adds a part of the model and returns the name of what it makes, [rows, width] but where it says
// otherwise. Names inside the graph begin or go on with a slash.

// The mean of a row's embeddings: its codes' sum, by a product with 1 for each code and 0 for the padding, over their
// count.
std::string add_mean(const std::string& name, const std::string& table, Graph* graph) {
  const std::string zero = graph->whole_numbers(name + "/zero", {0});
  const std::string is_code = graph->node("GreaterOrEqual", {name, zero}, name + "/is_code");
  const Graph::Attribute to_float{"to", {onnx::TensorProto::FLOAT}};
  const std::string mask = graph->node("Cast", {is_code}, name + "/mask", {to_float});
  const std::string codes = graph->node("Max", {name, zero}, name + "/codes");
  const std::string embedded = graph->node("Gather", {table, codes}, name + "/each");  // [rows, values, dim]
  const std::string weights = graph->node("Unsqueeze", {mask, graph->axis_1()}, name + "/weights");
  const std::string product = graph->node("MatMul", {weights, embedded}, name + "/product");  // [rows, 1, dim]
  const std::string sum = graph->node("Squeeze", {product, graph->axis_1()}, name + "/sum");
  const std::string count = graph->node("ReduceSum", {mask, graph->axis_1()}, name + "/count");
  const float one = 1;
  const std::string at_least = graph->tensor(name + "/least", {1}, &one);
  return graph->node("Div", {sum, graph->node("Max", {count, at_least}, name + "/divisor")}, name + "/embedded");
}

std::vector<std::string> add_embeddings(const TabularShape& shape, Graph* graph) {
  std::vector<std::string> embedded;
  for (const auto& [name, codes, dim, multi_valued] : shape.categorical) {
    const std::string table = "embedding." + name + ".weight";
    if (multi_valued) {
      graph->input(name, onnx::TensorProto::INT64, {kRows, name + "/values"},
                   "the codes of the row's values, then -1 up to the row with the most");
      embedded.push_back(add_mean(name, table, graph));
    } else {
      graph->input(name, onnx::TensorProto::INT64, {kRows}, "the code of the row's value");
      embedded.push_back(graph->node("Gather", {table, name}, name + "/embedded"));
    }
  }
  return embedded;
}

std::string add_layer(const std::string& layer, const std::string& input, Graph* graph) {
  return graph->node("Gemm", {input, layer + ".weight", layer + ".bias"}, layer + "/sum", {{"transB", {1}}});
}

// Layers "NAME.0" and on, with ReLU.
std::string add_layers(const std::string& name, size_t count, std::string at, Graph* graph) {
  for (size_t i = 0; i < count; ++i) {
    const std::string layer = name + "." + std::to_string(i);
    at = graph->node("Relu", {add_layer(layer, at, graph)}, layer + "/active");
  }
  return at;
}

// The numeric features or what their layers make of them; "" when there are none.
std::string add_numeric(const TabularShape& shape, const std::vector<std::string>& names, Graph* graph) {
  if (names.empty()) return "";
  std::vector<std::string> columns;
  for (const auto& name : names) {
    graph->input(name, onnx::TensorProto::FLOAT, {kRows}, "the standardised number; 0 when it is missing");
    columns.push_back(graph->node("Unsqueeze", {name, graph->axis_1()}, name + "/column"));
  }
  return add_layers("numeric", shape.numeric_layers.size(), graph->node("Concat", columns, "/numeric", {{"axis", {1}}}),
                    graph);
}

// All pairs of vectors, as kernels/dot_interaction.h numbers them: what lies below the diagonal of their products.
std::string add_dot(const TabularShape& shape, const std::string& features, const std::string& numeric, Graph* graph) {
  const auto vectors = static_cast<int64_t>(shape.categorical.size() + (numeric.empty() ? 0 : 1));
  const auto dim = static_cast<int64_t>(shape.categorical.at(0).dim);
  std::vector<int64_t> below;
  for (int64_t i = 1; i < vectors; ++i) {
    for (int64_t j = 0; j < i; ++j) below.push_back(i * vectors + j);
  }
  const std::string stack_shape =
      graph->whole_numbers("/dot/stack_shape", {0, vectors, dim});  // 0: as it was, the rows
  const std::string stack = graph->node("Reshape", {features, stack_shape}, "/dot/stack");
  const std::string turned = graph->node("Transpose", {stack}, "/dot/turned", {{"perm", {0, 2, 1}}});
  const std::string products = graph->node("MatMul", {stack, turned}, "/dot/products");  // [rows, vectors, vectors]
  const std::string flat_shape = graph->whole_numbers("/dot/flat_shape", {0, vectors * vectors});
  const std::string flat = graph->node("Reshape", {products, flat_shape}, "/dot/flat");
  const std::string places = graph->whole_numbers("/dot/places", below);
  const std::string pairs = graph->node("Gather", {flat, places}, "/dot/pairs", {{"axis", {1}}});
  if (numeric.empty()) return pairs;
  return graph->node("Concat", {numeric, pairs}, "/dot/features", {{"axis", {1}}});
}

std::string add_cross(const TabularShape& shape, const std::string& features, Graph* graph) {
  std::string at = features;
  for (uint32_t i = 0; i < shape.cross_layers; ++i) {
    const std::string layer = "cross." + std::to_string(i);
    std::string map;
    if (shape.cross_rank == 0) {
      map = add_layer(layer, at, graph);
    } else {
      const std::string low = graph->node("Gemm", {at, layer + ".down.weight"}, layer + "/low", {{"transB", {1}}});
      map = graph->node("Gemm", {low, layer + ".up.weight", layer + ".bias"}, layer + "/sum", {{"transB", {1}}});
    }
    at = graph->node("Add", {graph->node("Mul", {features, map}, layer + "/crossed"), at}, layer + "/added");
  }
  return at;
}

std::string add_interaction(const TabularShape& shape, const std::string& features, const std::string& numeric,
                            Graph* graph) {
  switch (shape.interaction) {
    case Interaction::kDot:
      return add_dot(shape, features, numeric, graph);
    case Interaction::kCross:
      return add_cross(shape, features, graph);
    case Interaction::kNone:
      break;
  }
  return features;
}

void add_outputs(const ModelArtifact& artifact, const std::string& output, Graph* graph) {
  const TabularShape& shape = artifact.model.shape();
  if (shape.classes > 0) {
    graph->node("Identity", {output}, "logits");
    graph->node("Softmax", {output}, "probabilities", {{"axis", {1}}});
    graph->output("logits", {kRows, int64_t{shape.classes}}, "of each class");
    graph->output("probabilities", {kRows, int64_t{shape.classes}}, "of each class; their sum is 1");
    return;
  }
  const std::string column = graph->node("Squeeze", {output, graph->axis_1()}, "/output");
  if (shape.binary) {
    graph->node("Identity", {column}, "logit");
    graph->node("Sigmoid", {column}, "probability");
    graph->output("logit", {kRows}, "of the label being positive");
    graph->output("probability", {kRows}, "of the label being positive");
    return;
  }
  const auto scale = static_cast<float>(artifact.transform.label_scale());
  const auto mean = static_cast<float>(artifact.transform.label_mean());
  const std::string scaled = graph->node("Mul", {column, graph->tensor("/label_scale", {}, &scale)}, "/scaled");
  graph->node("Add", {scaled, graph->tensor("/label_mean", {}, &mean)}, "value");
  graph->output("value", {kRows}, "in the label's unit");
}

void add_metadata(const ModelArtifact& artifact, const std::vector<std::string>& inputs, onnx::ModelProto* model) {
  auto add = [&](const std::string& key, const std::string& value) {
    auto* made = model->add_metadata_props();
    made->set_key(key);
    made->set_value(value);
  };
  auto lines = [](const auto& texts) {
    std::string joined;
    for (const auto& text : texts) joined += (joined.empty() ? "" : "\n") + text;
    return joined;
  };
  std::vector<std::string> padded;
  for (const auto& feature : artifact.model.shape().categorical) {
    if (feature.multi_valued) padded.push_back(feature.name);
  }
  add("freshet.inputs", lines(inputs));
  if (!padded.empty()) add("freshet.padded_inputs", lines(padded));
  add("freshet.label", artifact.transform.model().label().column());
  if (artifact.model.shape().classes > 0) {
    boost::json::array classes;  // any text
    for (const auto& word : artifact.transform.state().classes().words()) classes.emplace_back(word);
    add("freshet.classes", boost::json::serialize(classes));
  }
  add("freshet.weights_digest", artifact.checkpoint.weights_digest());
}

}  // namespace

Result<std::string> to_onnx(const ModelArtifact& artifact) {
  const TabularShape& shape = artifact.model.shape();
  const auto names = numeric_names(artifact.transform.model());
  if (names.size() != shape.numeric) return internal("the model has other features than its recipe");
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
  std::vector<std::string> parts = add_embeddings(shape, &graph);
  const std::string numeric = add_numeric(shape, names, &graph);
  if (!numeric.empty()) parts.push_back(numeric);
  const std::string features = graph.node("Concat", parts, "/features", {{"axis", {1}}});
  const std::string interacted = add_interaction(shape, features, numeric, &graph);
  const std::string top = add_layers("layers", shape.hidden.size(), interacted, &graph);
  add_outputs(artifact, add_layer("output", top, &graph), &graph);
  if (!graph.clash().empty()) {
    return invalid_argument("to ONNX: a feature has the name " + graph.clash() +
                            ", which another feature, an output or a part of the graph has; rename its column");
  }
  add_metadata(artifact, graph.inputs(), &model);
  std::string bytes;
  if (!model.SerializeToString(&bytes)) return invalid_argument("to ONNX: the model is larger than a file of 2 GiB");
  return bytes;
}

}  // namespace freshet::worker
