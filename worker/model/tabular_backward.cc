// From the loss back to every parameter.
#include <algorithm>

#include "kernels/bias_relu.h"
#include "kernels/cross_entropy.h"
#include "kernels/cross_layer.h"
#include "kernels/dot_interaction.h"
#include "kernels/embedding.h"
#include "kernels/linear.h"
#include "kernels/loss.h"
#include "kernels/matmul.h"
#include "worker/model/tabular.h"

namespace freshet::worker {
namespace {

using Interaction = TabularShape::Interaction;

// Cross entropy of rows that may have weights; the logits become its gradient.
double softmax_loss(const TabularBatch& batch, size_t classes, float scale, std::vector<int32_t>* target,
                    float* logits) {
  for (size_t r = 0; r < batch.rows; ++r) (*target)[r] = static_cast<int32_t>(batch.label[r]);
  std::vector<kernels::SoftmaxPart> parts(batch.rows);
  std::vector<float> logit(batch.rows), log_sum(batch.rows);
  const kernels::LogitBlock block{batch.rows, 0, classes, classes};
  kernels::softmax_parts(block, logits, target->data(), parts.data(), logit.data());
  double sum = kernels::join_softmax_parts(batch.rows, 1, parts.data(), target->data(), logit.data(), log_sum.data());
  kernels::cross_entropy_gradient(block, target->data(), log_sum.data(), scale, logits);
  if (batch.weight == nullptr) return sum;
  sum = 0;
  for (size_t r = 0; r < batch.rows; ++r) {
    sum += static_cast<double>(batch.weight[r]) * (static_cast<double>(log_sum[r]) - static_cast<double>(logit[r]));
    for (size_t c = 0; c < classes; ++c) logits[r * classes + c] *= batch.weight[r];
  }
  return sum;
}

}  // namespace

Result<double> TabularModel::forward_backward(const EncodedRows& rows, std::span<const uint32_t> indices, float scale,
                                              const float* parameters, float* gradient, Workspace* workspace) const {
  workspace->buffer.gather(rows, indices);
  return forward_backward(workspace->buffer.batch(0, indices.size()), scale, parameters, gradient, workspace);
}

Result<double> TabularModel::forward_backward(const TabularBatch& batch, float scale, const float* parameters,
                                              float* gradient, Workspace* workspace) const {
  float* features = workspace->feature_gradient.data();
  ASSIGN_OR_RETURN(
      double sum, forward_backward(batch, scale, weights_of(parameters), gradient + dense_begin_, features, workspace));
  std::fill(gradient, gradient + dense_begin_, 0.0F);
  for (size_t f = 0; f < column_.size(); ++f) {
    const auto& codes = batch.categorical[f];
    const size_t dim = shape_.categorical[f].dim;
    float* table = gradient + table_begin(f);
    if (codes.offsets == nullptr) {
      kernels::embedding_gradient(batch.rows, dim, codes.codes, features + column_[f], feature_width_, table);
    } else {
      kernels::embedding_bag_gradient(batch.rows, dim, codes.codes, codes.offsets, features + column_[f],
                                      feature_width_, table);
    }
  }
  return sum;
}

Result<double> TabularModel::forward_backward(const TabularBatch& batch, float scale, const TabularWeights& weights,
                                              float* gradient, float* feature_gradient, Workspace* workspace) const {
  RETURN_IF_ERROR(run_forward(batch, weights, workspace));
  const double sum = loss(batch, scale, workspace);
  const bool want_features = !column_.empty() || !numeric_layers_.empty();
  const bool want_input = want_features || shape_.interaction == Interaction::kCross;
  RETURN_IF_ERROR(layers_backward(hidden_layers_, batch.rows, true, interacted(*workspace), workspace->hidden,
                                  weights.dense, gradient, workspace, want_input));
  switch (shape_.interaction) {
    case Interaction::kNone:
      if (want_features) std::copy_n(workspace->gradient.data(), batch.rows * feature_width_, feature_gradient);
      break;
    case Interaction::kDot:
      dot_backward(batch.rows, feature_gradient, workspace);
      break;
    case Interaction::kCross:
      RETURN_IF_ERROR(cross_backward(batch.rows, weights.dense, gradient, feature_gradient, workspace));
      break;
  }
  RETURN_IF_ERROR(numeric_backward(batch, weights.dense, feature_gradient, gradient, workspace));
  for (size_t f = 0; f < column_.size(); ++f) {
    if (batch.categorical[f].offsets == nullptr) continue;
    kernels::embedding_bag_share(batch.rows, shape_.categorical[f].dim, batch.categorical[f].offsets,
                                 feature_gradient + column_[f], feature_width_);
  }
  return sum;
}

double TabularModel::loss(const TabularBatch& batch, float scale, Workspace* workspace) const {
  float* output = workspace->hidden.back().data();
  float* gradient = workspace->gradient.data();
  if (shape_.classes > 0) {
    std::copy_n(output, batch.rows * shape_.classes, gradient);
    return softmax_loss(batch, shape_.classes, scale, &workspace->target, gradient);
  }
  auto loss = shape_.binary ? kernels::bce_with_logits : kernels::squared_error;
  return loss(batch.rows, output, batch.label, batch.weight, scale, gradient);
}

Status TabularModel::layers_backward(const std::vector<Layer>& layers, size_t rows, bool last_is_linear,
                                     const float* input, const Buffers& outputs, const float* dense, float* gradient,
                                     Workspace* workspace, bool want_input) const {
  for (size_t i = layers.size(); i-- > 0;) {
    const Layer& layer = layers[i];
    const kernels::LinearShape shape{rows, layer.inputs, layer.outputs};
    float* dz = workspace->gradient.data();
    if (last_is_linear && i + 1 == layers.size()) {
      kernels::bias_gradient(rows, layer.outputs, dz, gradient + layer.bias);
    } else {
      kernels::bias_relu_gradient(rows, layer.outputs, outputs[i].data(), dz, gradient + layer.bias);
    }
    const float* below = i == 0 ? input : outputs[i - 1].data();
    RETURN_IF_ERROR(kernels::linear_weight_gradient(shape, dz, below, gradient + layer.weight));
    if (i == 0 && !want_input) break;
    RETURN_IF_ERROR(kernels::linear_input_gradient(shape, dz, dense + layer.weight, workspace->gradient_below.data()));
    std::swap(workspace->gradient, workspace->gradient_below);
  }
  return Status::ok();
}

void TabularModel::dot_backward(size_t rows, float* feature_gradient, Workspace* workspace) const {
  const float* gradient = workspace->gradient.data();
  const kernels::DotShape shape{rows, vectors(), shape_.categorical[0].dim, feature_width_, hidden_inputs_};
  kernels::dot_interaction_gradient(shape, workspace->features.data(), gradient + numeric_width_, feature_gradient);
  for (size_t r = 0; r < rows; ++r) {
    float* numeric = feature_gradient + r * feature_width_ + numeric_column();
    for (size_t c = 0; c < numeric_width_; ++c) numeric[c] += gradient[r * hidden_inputs_ + c];
  }
}

// Starts from the gradient of the last layer in workspace->gradient, and goes down in place.
Status TabularModel::cross_backward(size_t rows, const float* dense, float* gradient, float* feature_gradient,
                                    Workspace* workspace) const {
  const size_t width = feature_width_, rank = shape_.cross_rank;
  float* dy = workspace->gradient.data();
  float* dmap = workspace->gradient_below.data();
  const float* x0 = workspace->features.data();
  std::fill_n(feature_gradient, rows * width, 0.0F);
  for (size_t i = cross_layers_.size(); i-- > 0;) {
    const CrossLayer& layer = cross_layers_[i];
    const float* x = i == 0 ? x0 : workspace->cross[i - 1].data();
    kernels::cross_layer_gradient(rows, width, x0, workspace->cross_map[i].data(), dy, dmap, feature_gradient,
                                  gradient + layer.bias);
    const kernels::MatmulShape add{rows, width, rank == 0 ? width : rank, true};
    if (rank == 0) {
      RETURN_IF_ERROR(kernels::linear_weight_gradient({rows, width, width}, dmap, x, gradient + layer.weight));
      RETURN_IF_ERROR(kernels::matmul(add, {dmap, width}, {dense + layer.weight, width}, dy, width));
      continue;
    }
    float* low = workspace->cross_low[i].data();
    RETURN_IF_ERROR(kernels::linear_weight_gradient({rows, rank, width}, dmap, low, gradient + layer.up));
    // What the forward pass left there is not needed again.
    RETURN_IF_ERROR(kernels::linear_input_gradient({rows, rank, width}, dmap, dense + layer.up, low));
    RETURN_IF_ERROR(kernels::linear_weight_gradient({rows, width, rank}, low, x, gradient + layer.down));
    RETURN_IF_ERROR(kernels::matmul(add, {low, rank}, {dense + layer.down, width}, dy, width));
  }
  for (size_t i = 0; i < rows * width; ++i) feature_gradient[i] += dy[i];
  return Status::ok();
}

Status TabularModel::numeric_backward(const TabularBatch& batch, const float* dense, const float* feature_gradient,
                                      float* gradient, Workspace* workspace) const {
  if (numeric_layers_.empty()) return Status::ok();
  for (size_t r = 0; r < batch.rows; ++r) {
    std::copy_n(feature_gradient + r * feature_width_ + numeric_column(), numeric_width_,
                workspace->gradient.data() + r * numeric_width_);
  }
  return layers_backward(numeric_layers_, batch.rows, false, batch.numeric, workspace->numeric, dense, gradient,
                         workspace, false);
}

}  // namespace freshet::worker
