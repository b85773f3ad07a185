// From rows to the last layer's output.
#include <algorithm>

#include "kernels/bias_relu.h"
#include "kernels/cross_layer.h"
#include "kernels/dot_interaction.h"
#include "kernels/embedding.h"
#include "kernels/linear.h"
#include "worker/model/tabular.h"

namespace freshet::worker {

using Interaction = TabularShape::Interaction;

Status TabularModel::forward(const EncodedRows& rows, std::span<const uint32_t> indices, const float* parameters,
                             Workspace* workspace, float* output) const {
  workspace->buffer.gather(rows, indices);
  const TabularBatch batch = workspace->buffer.batch(0, indices.size());
  RETURN_IF_ERROR(run_forward(batch, weights_of(parameters), workspace));
  std::copy_n(workspace->hidden.back().data(), batch.rows * shape_.outputs(), output);
  return Status::ok();
}

Status TabularModel::run_forward(const TabularBatch& batch, const TabularWeights& weights, Workspace* workspace) const {
  CHECK(batch.rows <= workspace->rows_max);
  RETURN_IF_ERROR(gather_features(batch, weights, workspace));
  switch (shape_.interaction) {
    case Interaction::kNone:
      break;
    case Interaction::kDot:
      dot_forward(batch.rows, workspace);
      break;
    case Interaction::kCross:
      RETURN_IF_ERROR(cross_forward(batch.rows, weights.dense, workspace));
      break;
  }
  return layers_forward(hidden_layers_, batch.rows, true, interacted(*workspace), weights.dense, &workspace->hidden);
}

const float* TabularModel::interacted(const Workspace& workspace) const {
  switch (shape_.interaction) {
    case Interaction::kDot:
      return workspace.interaction.data();
    case Interaction::kCross:
      return workspace.cross.back().data();
    case Interaction::kNone:
      break;
  }
  return workspace.features.data();
}

Status TabularModel::gather_features(const TabularBatch& batch, const TabularWeights& weights,
                                     Workspace* workspace) const {
  float* features = workspace->features.data();
  for (size_t f = 0; f < column_.size(); ++f) {
    const auto& codes = batch.categorical[f];
    const size_t dim = shape_.categorical[f].dim;
    if (codes.offsets == nullptr) {
      kernels::embedding_forward(batch.rows, dim, codes.codes, weights.tables[f], features + column_[f],
                                 feature_width_);
    } else {
      kernels::embedding_bag_forward(batch.rows, dim, codes.codes, codes.offsets, weights.tables[f],
                                     features + column_[f], feature_width_);
    }
  }
  const float* numeric = batch.numeric;
  if (!numeric_layers_.empty()) {
    RETURN_IF_ERROR(layers_forward(numeric_layers_, batch.rows, false, numeric, weights.dense, &workspace->numeric));
    numeric = workspace->numeric.back().data();
  }
  for (size_t r = 0; r < batch.rows; ++r) {
    std::copy_n(numeric + r * numeric_width_, numeric_width_, features + r * feature_width_ + numeric_column());
  }
  return Status::ok();
}

Status TabularModel::layers_forward(const std::vector<Layer>& layers, size_t rows, bool last_is_linear,
                                    const float* input, const float* dense, Buffers* outputs) const {
  for (size_t i = 0; i < layers.size(); ++i) {
    const Layer& layer = layers[i];
    float* out = (*outputs)[i].data();
    RETURN_IF_ERROR(kernels::linear_forward({rows, layer.inputs, layer.outputs}, input, dense + layer.weight, out));
    if (last_is_linear && i + 1 == layers.size()) {
      kernels::bias_forward(rows, layer.outputs, dense + layer.bias, out);
    } else {
      kernels::bias_relu_forward(rows, layer.outputs, dense + layer.bias, out);
    }
    input = out;
  }
  return Status::ok();
}

void TabularModel::dot_forward(size_t rows, Workspace* workspace) const {
  float* out = workspace->interaction.data();
  for (size_t r = 0; r < rows; ++r) {
    std::copy_n(workspace->features.data() + r * feature_width_ + numeric_column(), numeric_width_,
                out + r * hidden_inputs_);
  }
  const kernels::DotShape shape{rows, vectors(), shape_.categorical[0].dim, feature_width_, hidden_inputs_};
  kernels::dot_interaction_forward(shape, workspace->features.data(), out + numeric_width_);
}

Status TabularModel::cross_forward(size_t rows, const float* dense, Workspace* workspace) const {
  const float* x0 = workspace->features.data();
  const float* x = x0;
  for (size_t i = 0; i < cross_layers_.size(); ++i) {
    const CrossLayer& layer = cross_layers_[i];
    float* map = workspace->cross_map[i].data();
    const size_t width = feature_width_, rank = shape_.cross_rank;
    if (rank == 0) {
      RETURN_IF_ERROR(kernels::linear_forward({rows, width, width}, x, dense + layer.weight, map));
    } else {
      float* low = workspace->cross_low[i].data();
      RETURN_IF_ERROR(kernels::linear_forward({rows, width, rank}, x, dense + layer.down, low));
      RETURN_IF_ERROR(kernels::linear_forward({rows, rank, width}, low, dense + layer.up, map));
    }
    kernels::cross_layer_forward(rows, width, x0, x, dense + layer.bias, map, workspace->cross[i].data());
    x = workspace->cross[i].data();
  }
  return Status::ok();
}

}  // namespace freshet::worker
