#include "worker/model/tabular.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/random.h"
#include "kernels/bias_relu.h"
#include "kernels/embedding.h"
#include "kernels/linear.h"
#include "kernels/loss.h"

namespace freshet::worker {
namespace {

// A flat array of more would not fit a machine that runs this engine; it keeps products of sizes from overflowing.
constexpr uint64_t kParametersMax = uint64_t{1} << 34;

// Embeddings start small: a category seen rarely then says little, instead of adding noise to the first layer.
constexpr double kEmbeddingBound = 0.1;

std::string feature_name(const v1::Feature& feature) {
  switch (feature.derive()) {
    case v1::Feature::HOUR_OF_DAY:
      return feature.column() + ".hour_of_day";
    case v1::Feature::DAY_OF_WEEK:
      return feature.column() + ".day_of_week";
    default:
      return feature.column();
  }
}

}  // namespace

TabularShape TabularShape::of(const Transform& transform) {
  TabularShape shape;
  auto codes = transform.cardinalities();
  auto dims = transform.embedding_dims();
  for (const auto& feature : transform.model().features()) {
    if (feature.kind() != v1::Feature::CATEGORICAL) continue;
    size_t i = shape.categorical.size();
    shape.categorical.push_back({feature_name(feature), codes.at(i), dims.at(i)});
  }
  shape.numeric = transform.numeric_features();
  shape.hidden.assign(transform.model().hidden_layers().begin(), transform.model().hidden_layers().end());
  shape.binary = transform.model().label().task() == v1::Label::BINARY;
  return shape;
}

TabularModel::Workspace::Workspace(const TabularModel& model, size_t rows_max) : codes(rows_max), label(rows_max) {
  size_t widest = model.input_width_;
  activation.emplace_back(rows_max * model.input_width_);
  for (const auto& layer : model.layers_) {
    activation.emplace_back(rows_max * layer.outputs);
    widest = std::max(widest, layer.outputs);
  }
  gradient.resize(rows_max * widest);
  gradient_below.resize(rows_max * widest);
}

void TabularModel::add_tensor(const std::string& name, std::vector<uint64_t> shape) {
  size_t size = 1;
  for (uint64_t dimension : shape) size *= dimension;
  tensors_.push_back({name, std::move(shape), parameters_, size});
  parameters_ += size;
}

Result<TabularModel> TabularModel::create(const TabularShape& shape) {
  TabularModel model;
  model.shape_ = shape;
  uint64_t width = shape.numeric, parameters = 0;
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
  uint64_t inputs = width;
  for (uint32_t hidden : shape.hidden) {
    if (hidden == 0) return invalid_argument("hidden_layers holds a width of 0");
    parameters += (inputs + 1) * hidden;
    inputs = hidden;
  }
  if (parameters > kParametersMax) {
    return invalid_argument("the model would have more than " + std::to_string(kParametersMax) +
                            " parameters: use smaller hidden_layers or embedding_dim");
  }

  model.input_width_ = width;
  for (const auto& feature : shape.categorical) {
    model.embedding_.push_back(model.parameters_);
    model.add_tensor("embedding." + feature.name + ".weight", {feature.codes, feature.dim});
  }
  inputs = width;
  auto add_layer = [&](const std::string& name, uint64_t outputs) {
    Layer layer{inputs, outputs, model.parameters_, 0};
    model.add_tensor(name + ".weight", {outputs, inputs});
    layer.bias = model.parameters_;
    model.add_tensor(name + ".bias", {outputs});
    model.layers_.push_back(layer);
    inputs = outputs;
  };
  for (size_t i = 0; i < shape.hidden.size(); ++i) add_layer("layers." + std::to_string(i), shape.hidden[i]);
  add_layer("output", 1);
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
  for (const auto& column : rows.numeric) {
    if (column.size() != rows.rows) return internal("a numeric feature has another number of rows");
  }
  for (size_t f = 0; f < rows.categorical.size(); ++f) {
    const auto& codes = rows.categorical[f];
    if (codes.size() != rows.rows) return internal("a categorical feature has another number of rows");
    auto limit = static_cast<int64_t>(shape_.categorical[f].codes);
    bool in_range =
        std::all_of(codes.begin(), codes.end(), [limit](int32_t code) { return code >= 0 && code < limit; });
    if (!in_range)
      return invalid_argument("feature " + shape_.categorical[f].name + " has a code that its model lacks");
  }
  return Status::ok();
}

void TabularModel::gather_input(const EncodedRows& rows, std::span<const uint32_t> indices, const float* parameters,
                                Workspace* workspace) const {
  size_t count = indices.size();
  float* input = workspace->activation[0].data();
  size_t column = 0;
  for (size_t f = 0; f < shape_.categorical.size(); ++f) {
    const int32_t* codes = rows.categorical[f].data();
    for (size_t r = 0; r < count; ++r) workspace->codes[r] = codes[indices[r]];
    size_t dim = shape_.categorical[f].dim;
    kernels::embedding_forward(count, dim, workspace->codes.data(), parameters + embedding_[f], input + column,
                               input_width_);
    column += dim;
  }
  for (const auto& values : rows.numeric) {
    for (size_t r = 0; r < count; ++r) input[r * input_width_ + column] = values[indices[r]];
    ++column;
  }
}

Status TabularModel::run_layers(size_t rows, const float* parameters, Workspace* workspace) const {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    float* out = workspace->activation[i + 1].data();
    RETURN_IF_ERROR(kernels::linear_forward({rows, layer.inputs, layer.outputs}, workspace->activation[i].data(),
                                            parameters + layer.weight, out));
    if (i + 1 == layers_.size()) {
      kernels::bias_forward(rows, layer.outputs, parameters + layer.bias, out);
    } else {
      kernels::bias_relu_forward(rows, layer.outputs, parameters + layer.bias, out);
    }
  }
  return Status::ok();
}

Status TabularModel::forward(const EncodedRows& rows, std::span<const uint32_t> indices, const float* parameters,
                             Workspace* workspace, float* output) const {
  CHECK(indices.size() <= workspace->codes.size());
  gather_input(rows, indices, parameters, workspace);
  RETURN_IF_ERROR(run_layers(indices.size(), parameters, workspace));
  const auto& last = workspace->activation.back();
  std::copy(last.begin(), last.begin() + static_cast<ptrdiff_t>(indices.size()), output);
  return Status::ok();
}

Result<double> TabularModel::forward_backward(const EncodedRows& rows, std::span<const uint32_t> indices, float scale,
                                              const float* parameters, float* gradient, Workspace* workspace) const {
  size_t count = indices.size();
  CHECK(count <= workspace->codes.size());
  gather_input(rows, indices, parameters, workspace);
  RETURN_IF_ERROR(run_layers(count, parameters, workspace));

  for (size_t r = 0; r < count; ++r) workspace->label[r] = rows.label[indices[r]];
  auto loss = shape_.binary ? kernels::bce_with_logits : kernels::squared_error;
  double sum = loss(count, workspace->activation.back().data(), workspace->label.data(), nullptr, scale,
                    workspace->gradient.data());

  for (size_t i = layers_.size(); i-- > 0;) {
    const Layer& layer = layers_[i];
    kernels::LinearShape shape{count, layer.inputs, layer.outputs};
    float* dz = workspace->gradient.data();
    if (i + 1 == layers_.size()) {
      kernels::bias_gradient(count, layer.outputs, dz, gradient + layer.bias);
    } else {
      kernels::bias_relu_gradient(count, layer.outputs, workspace->activation[i + 1].data(), dz, gradient + layer.bias);
    }
    RETURN_IF_ERROR(
        kernels::linear_weight_gradient(shape, dz, workspace->activation[i].data(), gradient + layer.weight));
    if (i > 0 || !embedding_.empty()) {
      RETURN_IF_ERROR(
          kernels::linear_input_gradient(shape, dz, parameters + layer.weight, workspace->gradient_below.data()));
      std::swap(workspace->gradient, workspace->gradient_below);
    }
  }
  embedding_gradients(rows, indices, workspace->gradient.data(), gradient, workspace);
  return sum;
}

void TabularModel::embedding_gradients(const EncodedRows& rows, std::span<const uint32_t> indices,
                                       const float* input_gradient, float* gradient, Workspace* workspace) const {
  size_t column = 0;
  for (size_t f = 0; f < shape_.categorical.size(); ++f) {
    const auto& feature = shape_.categorical[f];
    const int32_t* codes = rows.categorical[f].data();
    for (size_t r = 0; r < indices.size(); ++r) workspace->codes[r] = codes[indices[r]];
    float* table = gradient + embedding_[f];
    std::fill(table, table + size_t{feature.codes} * feature.dim, 0.0F);
    kernels::embedding_gradient(indices.size(), feature.dim, workspace->codes.data(), input_gradient + column,
                                input_width_, table);
    column += feature.dim;
  }
}

}  // namespace freshet::worker
