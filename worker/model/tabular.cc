// The architecture: tensors, initial weights, and which rows fit.
#include "worker/model/tabular.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/random.h"
#include "kernels/dot_interaction.h"

namespace freshet::worker {
namespace {

using Interaction = TabularShape::Interaction;

// A flat array of more would not fit a machine that runs this engine; it keeps products of sizes from overflowing.
constexpr uint64_t kParametersMax = uint64_t{1} << 34;

// Embeddings start small: a category seen rarely then says little, instead of adding noise to the first layer.
constexpr double kEmbeddingBound = 0.1;

Status check_dot(const TabularShape& shape) {
  if (shape.categorical.empty()) return invalid_argument("interaction DOT needs categorical features");
  const uint32_t dim = shape.categorical[0].dim;
  for (const auto& feature : shape.categorical) {
    if (feature.dim != dim) {
      return invalid_argument("interaction DOT needs one embedding_dim: feature " + feature.name + " has " +
                              std::to_string(feature.dim) + ", not " + std::to_string(dim));
    }
  }
  if (shape.numeric > 0 && (shape.numeric_layers.empty() || shape.numeric_layers.back() != dim)) {
    return invalid_argument("interaction DOT needs numeric_layers that end with the embeddings' width, " +
                            std::to_string(dim));
  }
  if (shape.categorical.size() + 1 > kernels::kInteractionVectorsMax) {
    return invalid_argument("interaction DOT takes fewer than " + std::to_string(kernels::kInteractionVectorsMax) +
                            " categorical features");
  }
  return Status::ok();
}

// Widths of the features and of their layers; the number of parameters, which may be too large to be true.
Status check_shape(const TabularShape& shape) {
  uint64_t width = shape.numeric, parameters = 0;
  auto add_layers = [&parameters](uint64_t inputs, const std::vector<uint32_t>& widths, const char* name) {
    for (uint32_t outputs : widths) {
      if (outputs == 0) return Result<uint64_t>(invalid_argument(std::string(name) + " holds a width of 0"));
      parameters += (inputs + 1) * outputs;
      inputs = outputs;
    }
    return Result<uint64_t>(inputs);
  };
  if (!shape.numeric_layers.empty()) {
    if (shape.numeric == 0) return invalid_argument("numeric_layers are for numeric features, and there are none");
    ASSIGN_OR_RETURN(width, add_layers(width, shape.numeric_layers, "numeric_layers"));
  }
  std::set<std::string> names;
  for (const auto& feature : shape.categorical) {
    if (!names.insert(feature.name).second) return invalid_argument("feature " + feature.name + " is given twice");
    if (feature.dim == 0 || feature.codes == 0) {
      return invalid_argument("feature " + feature.name + " needs an embedding_dim and a category");
    }
    width += feature.dim;
    parameters += uint64_t{feature.codes} * feature.dim;
  }
  if (width == 0) return invalid_argument("the model has no features");
  if (shape.interaction == Interaction::kCross) {
    if (shape.cross_layers == 0) return invalid_argument("interaction CROSS needs cross_layers");
    parameters += shape.cross_layers * width * (shape.cross_rank == 0 ? width : 2 * uint64_t{shape.cross_rank});
  }
  if (shape.interaction == Interaction::kDot) RETURN_IF_ERROR(check_dot(shape));
  RETURN_IF_ERROR(add_layers(width, shape.hidden, "hidden_layers").status());
  if (parameters > kParametersMax) {
    return invalid_argument("the model would have more than " + std::to_string(kParametersMax) +
                            " parameters: use smaller hidden_layers or embedding_dim");
  }
  return Status::ok();
}

}  // namespace

size_t TabularModel::add_tensor(const std::string& name, std::vector<uint64_t> shape) {
  size_t size = 1, offset = parameters_;
  for (uint64_t dimension : shape) size *= dimension;
  tensors_.push_back({name, std::move(shape), offset, size});
  parameters_ += size;
  return offset - dense_begin_;
}

void TabularModel::add_layers(const std::string& name, size_t* width, const std::vector<uint32_t>& outputs,
                              std::vector<Layer>* layers) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string own = name + (name == "output" ? "" : "." + std::to_string(i));
    Layer layer{*width, outputs[i], 0, 0};
    layer.weight = add_tensor(own + ".weight", {outputs[i], *width});
    layer.bias = add_tensor(own + ".bias", {outputs[i]});
    layers->push_back(layer);
    *width = outputs[i];
  }
}

void TabularModel::add_cross_layers() {
  for (uint32_t i = 0; i < shape_.cross_layers; ++i) {
    const std::string name = "cross." + std::to_string(i);
    CrossLayer layer;
    if (shape_.cross_rank == 0) {
      layer.weight = add_tensor(name + ".weight", {feature_width_, feature_width_});
    } else {
      layer.down = add_tensor(name + ".down.weight", {shape_.cross_rank, feature_width_});
      layer.up = add_tensor(name + ".up.weight", {feature_width_, shape_.cross_rank});
    }
    layer.bias = add_tensor(name + ".bias", {feature_width_});
    cross_layers_.push_back(layer);
  }
}

size_t TabularModel::vectors() const { return shape_.categorical.size() + (numeric_width_ > 0 ? 1 : 0); }

Result<TabularModel> TabularModel::create(const TabularShape& shape) {
  RETURN_IF_ERROR(check_shape(shape));
  TabularModel model;
  model.shape_ = shape;
  for (const auto& feature : shape.categorical) {
    model.add_tensor("embedding." + feature.name + ".weight", {feature.codes, feature.dim});
    model.column_.push_back(model.feature_width_);
    model.feature_width_ += feature.dim;
  }
  model.dense_begin_ = model.parameters_;
  model.numeric_width_ = shape.numeric;
  model.add_layers("numeric", &model.numeric_width_, shape.numeric_layers, &model.numeric_layers_);
  model.feature_width_ += model.numeric_width_;
  size_t width = model.feature_width_;
  if (shape.interaction == Interaction::kCross) model.add_cross_layers();
  if (shape.interaction == Interaction::kDot) {
    width = model.numeric_width_ + kernels::DotShape{0, model.vectors()}.pairs();
    if (width == 0) return invalid_argument("interaction DOT needs two features or more");
  }
  model.hidden_inputs_ = width;
  model.add_layers("layers", &width, shape.hidden, &model.hidden_layers_);
  model.add_layers("output", &width, {static_cast<uint32_t>(shape.outputs())}, &model.hidden_layers_);
  for (size_t t = shape.categorical.size(); t < model.tensors_.size(); ++t) {
    model.dense_tensors_.push_back(model.tensors_[t]);
    model.dense_tensors_.back().offset -= model.dense_begin_;
  }
  return model;
}

void TabularModel::initialise(uint64_t seed, float* parameters) const {
  for (const auto& tensor : tensors_) {
    float* values = parameters + tensor.offset;
    if (tensor.shape.size() == 1) {  // biases
      std::fill(values, values + tensor.size, 0.0F);
      continue;
    }
    // Uniform, with the variance that keeps the scale of what passes a ReLU (He et al., "Delving deep into rectifiers",
    // 2015). Without libm, so that the bits are the same everywhere.
    bool embedding = tensor.name.starts_with("embedding.");
    double bound = embedding ? kEmbeddingBound : std::sqrt(6.0 / static_cast<double>(tensor.shape[1]));
    Philox philox(seed, stream_of("initial weights of " + tensor.name));
    for (size_t i = 0; i < tensor.size; ++i) {
      values[i] = static_cast<float>(bound * (2 * philox.uniform(i) - 1));
    }
  }
}

Status TabularModel::check_rows(const EncodedRows& rows, bool with_label) const {
  if (rows.categorical.size() != shape_.categorical.size() || rows.numeric.size() != shape_.numeric) {
    return invalid_argument("the rows have other features than the model");
  }
  if (rows.rows > UINT32_MAX) return invalid_argument("more than 2^32 rows: train on a smaller window");
  if (with_label && rows.label.size() != rows.rows) return invalid_argument("the rows have no label");
  if (!rows.weight.empty() && rows.weight.size() != rows.rows) return internal("there is another number of weights");
  for (float label : rows.label) {
    if (shape_.classes != 0 && !(label >= 0 && label < static_cast<float>(shape_.classes))) {
      return invalid_argument("a row is of a class that its model lacks");
    }
  }
  for (const auto& column : rows.numeric) {
    if (column.size() != rows.rows) return internal("a numeric feature has another number of rows");
  }
  for (size_t f = 0; f < rows.categorical.size(); ++f) {
    const auto& codes = rows.categorical[f];
    size_t count = rows.rows;
    if (shape_.categorical[f].multi_valued) {
      if (f >= rows.ends.size() || rows.ends[f].size() != rows.rows ||
          !std::is_sorted(rows.ends[f].begin(), rows.ends[f].end())) {
        return internal("a multi-valued feature has another number of rows");
      }
      count = rows.ends[f].empty() ? 0 : rows.ends[f].back();
    }
    if (codes.size() != count) return internal("a categorical feature has another number of rows");
    auto limit = static_cast<int64_t>(shape_.categorical[f].codes);
    bool in_range =
        std::all_of(codes.begin(), codes.end(), [limit](int32_t code) { return code >= 0 && code < limit; });
    if (!in_range)
      return invalid_argument("feature " + shape_.categorical[f].name + " has a code that its model lacks");
  }
  return Status::ok();
}

TabularWeights TabularModel::weights_of(const float* parameters) const {
  TabularWeights weights;
  weights.dense = parameters + dense_begin_;
  for (size_t f = 0; f < column_.size(); ++f) weights.tables.push_back(parameters + table_begin(f));
  return weights;
}

TabularModel::Workspace::Workspace(const TabularModel& model, size_t rows)
    : rows_max(rows), buffer(model.shape_, rows), features(rows * model.feature_width_), target(rows) {
  size_t widest = std::max(model.feature_width_, model.hidden_inputs_);
  auto add_outputs = [&](const std::vector<Layer>& layers, Buffers* outputs) {
    for (const auto& layer : layers) {
      outputs->emplace_back(rows * layer.outputs);
      widest = std::max({widest, layer.inputs, layer.outputs});
    }
  };
  add_outputs(model.numeric_layers_, &numeric);
  add_outputs(model.hidden_layers_, &hidden);
  const size_t layers = model.cross_layers_.size();
  cross.assign(layers, std::vector<float>(rows * model.feature_width_));
  cross_map.assign(layers, std::vector<float>(rows * model.feature_width_));
  cross_low.assign(layers, std::vector<float>(rows * model.shape_.cross_rank));
  widest = std::max<size_t>(widest, model.shape_.cross_rank);
  if (model.shape_.interaction == Interaction::kDot) interaction.resize(rows * model.hidden_inputs_);
  gradient.resize(rows * widest);
  gradient_below.resize(rows * widest);
  feature_gradient.resize(rows * model.feature_width_);
}

}  // namespace freshet::worker
