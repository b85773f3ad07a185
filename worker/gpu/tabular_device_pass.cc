// From a micro-batch to its loss and back to every parameter.
#include <set>

#include "kernels/cuda/cross_layer.h"
#include "kernels/cuda/dense.h"
#include "kernels/cuda/loss.h"
#include "worker/gpu/tabular_device.h"

namespace freshet::worker {

using cuda::Epilogue;
using cuda::ProductOperands;
using cuda::ProductShape;
using cuda::Type;
using Interaction = TabularShape::Interaction;

ProductShape TabularDevice::forward_product(const Matrix& matrix, Type type, Epilogue epilogue) const {
  ProductShape shape{rows_, matrix.out_stride, matrix.in_stride};
  shape.b_transposed = true;
  shape.result = type;
  shape.epilogue = epilogue;
  return shape;
}

ProductShape TabularDevice::input_gradient_product(const Matrix& matrix, bool accumulate, Epilogue epilogue) const {
  ProductShape shape{rows_, matrix.in_stride, matrix.out_stride};
  shape.accumulate = accumulate;
  shape.epilogue = epilogue;
  return shape;
}

Epilogue TabularDevice::gradient_below(const Layer* below) {
  return below != nullptr && below->is_fused ? Epilogue::kReluGradient : Epilogue::kNone;
}

ProductShape TabularDevice::weight_gradient_product(const Matrix& matrix) const {
  ProductShape shape{matrix.out_stride, matrix.in_stride, rows_};
  shape.a_transposed = true;
  shape.result = Type::kFloat32;
  return shape;
}

std::vector<ProductShape> TabularDevice::products_of(const TabularModel& model, size_t rows) {
  TabularDevice device;
  device.model_ = &model;
  device.rows_ = rows;
  device.describe_layers();
  std::set<ProductShape> shapes;
  auto add = [&](const Matrix& matrix, Type type, bool want_input, bool accumulate, Epilogue forward = Epilogue::kNone,
                 Epilogue back = Epilogue::kNone) {
    shapes.insert(device.forward_product(matrix, type, forward));
    shapes.insert(device.weight_gradient_product(matrix));
    if (want_input) shapes.insert(device.input_gradient_product(matrix, accumulate, back));
  };
  auto add_layers = [&](const std::vector<Layer>& layers, bool last_is_linear, bool want_input) {
    for (size_t i = 0; i < layers.size(); ++i) {
      const bool is_linear = last_is_linear && i + 1 == layers.size();
      add(layers[i].weight, is_linear ? Type::kFloat32 : Type::kBfloat16, want_input || i > 0, false,
          !is_linear && layers[i].is_fused ? Epilogue::kBiasRelu : Epilogue::kNone,
          gradient_below(i == 0 ? nullptr : &layers[i - 1]));
    }
  };
  add_layers(device.numeric_layers_, false, false);
  add_layers(device.hidden_layers_, true, device.want_features());
  for (const CrossLayer& layer : device.cross_layers_) {
    if (layer.weight.inputs > 0) {
      add(layer.weight, Type::kBfloat16, true, true);
    } else {
      add(layer.down, Type::kBfloat16, true, true);
      add(layer.up, Type::kBfloat16, true, false);
    }
  }
  return {shapes.begin(), shapes.end()};
}

Status TabularDevice::multiply(const Matrix& matrix, const Bfloat16* x, void* y, Type type, const Pass& pass,
                               const Bfloat16* relu_bias) {
  ProductOperands operands;
  operands.a = x;
  operands.a_stride = matrix.in_stride;
  operands.b = matrix_at(matrix, pass);
  operands.b_stride = matrix.in_stride;
  operands.c = y;
  operands.c_stride = matrix.out_stride;
  operands.bias = relu_bias;
  const Epilogue epilogue = relu_bias == nullptr ? Epilogue::kNone : Epilogue::kBiasRelu;
  return products_->run(forward_product(matrix, type, epilogue), operands, pass.stream);
}

Status TabularDevice::multiply_back(const Matrix& matrix, const Bfloat16* dy, Bfloat16* dx, bool accumulate,
                                    const Pass& pass, const Layer* below) {
  ProductOperands operands;
  operands.a = dy;
  operands.a_stride = matrix.out_stride;
  operands.b = matrix_at(matrix, pass);
  operands.b_stride = matrix.in_stride;
  operands.c = dx;
  operands.c_stride = matrix.in_stride;
  const Epilogue epilogue = gradient_below(below);
  if (epilogue == Epilogue::kReluGradient) {
    operands.z = at(below->output);
    operands.bias_gradient = pass.gradient + below->bias;
  }
  return products_->run(input_gradient_product(matrix, accumulate, epilogue), operands, pass.stream);
}

Status TabularDevice::weight_gradient(const Matrix& matrix, const Bfloat16* dy, const Bfloat16* x, const Pass& pass) {
  ProductOperands operands;
  operands.a = dy;
  operands.a_stride = matrix.out_stride;
  operands.b = x;
  operands.b_stride = matrix.in_stride;
  operands.c = matrix.is_copied ? at<float>(matrix.gradient_copy) : pass.gradient + matrix.offset;
  operands.c_stride = matrix.in_stride;
  return products_->run(weight_gradient_product(matrix), operands, pass.stream);
}

Status TabularDevice::copy_weights(const Pass& pass) {
  for (const Matrix* matrix : matrices()) {
    if (!matrix->is_copied) continue;
    RETURN_IF_ERROR(cuda::copy_rows(matrix->outputs, matrix->inputs, pass.weights + matrix->offset, matrix->inputs,
                                    at(matrix->copy), matrix->in_stride, pass.stream));
  }
  return Status::ok();
}

Status TabularDevice::copy_gradients(const Pass& pass) {
  for (const Matrix* matrix : matrices()) {
    if (!matrix->is_copied) continue;
    RETURN_IF_ERROR(cuda::copy_rows(matrix->outputs, matrix->inputs, at<float>(matrix->gradient_copy),
                                    matrix->in_stride, pass.gradient + matrix->offset, matrix->inputs, pass.stream));
  }
  return Status::ok();
}

Status TabularDevice::layers_forward(const std::vector<Layer>& layers, bool last_is_linear, const Bfloat16* input,
                                     const Pass& pass) {
  for (const Layer& layer : layers) {
    const Matrix& weight = layer.weight;
    Bfloat16* output = at(layer.output);
    if (last_is_linear && &layer == &layers.back()) {
      return multiply(weight, input, output, Type::kFloat32, pass);
    }
    const Bfloat16* const bias = pass.weights + layer.bias;
    RETURN_IF_ERROR(multiply(weight, input, output, Type::kBfloat16, pass, layer.is_fused ? bias : nullptr));
    if (!layer.is_fused) {
      RETURN_IF_ERROR(cuda::bias_relu_forward({rows_, weight.outputs, weight.out_stride}, bias, output, pass.stream));
    }
    input = output;
  }
  return Status::ok();
}

Status TabularDevice::gather_features(const Pass& pass) {
  const size_t rows = rows_, numeric = model_->shape().numeric;
  Bfloat16* features = at(places_.features);
  RETURN_IF_ERROR(embeddings_->forward(words_of(pass), slot_of(pass), features, feature_stride_, pass.stream));
  const auto* values = reinterpret_cast<const float*>(pass.input + input_.numeric);
  if (numeric_layers_.empty()) {
    return cuda::copy_rows(rows, numeric, values, numeric, features + numeric_column(), feature_stride_, pass.stream);
  }
  Bfloat16* input = at(places_.numeric_input);
  RETURN_IF_ERROR(
      cuda::copy_rows(rows, numeric, values, numeric, input, numeric_layers_[0].weight.in_stride, pass.stream));
  RETURN_IF_ERROR(layers_forward(numeric_layers_, false, input, pass));
  return cuda::copy_rows(rows, numeric_width_, at(numeric_layers_.back().output), numeric_stride_,
                         features + numeric_column(), feature_stride_, pass.stream);
}

cuda::DotShape TabularDevice::dot_shape() const {
  const auto& features = model_->shape().categorical;
  return {rows_, features.size() + (numeric_width_ > 0 ? 1 : 0), features[0].dim, feature_stride_, interaction_stride_};
}

Status TabularDevice::dot_forward(const Pass& pass) {
  Bfloat16* out = at(places_.interaction);
  RETURN_IF_ERROR(cuda::copy_rows(rows_, numeric_width_, at(places_.features) + numeric_column(), feature_stride_, out,
                                  interaction_stride_, pass.stream));
  return cuda::dot_interaction_forward(dot_shape(), at(places_.features), out + numeric_width_, pass.stream);
}

Status TabularDevice::cross_forward(const Pass& pass) {
  const cuda::DenseShape shape{rows_, model_->feature_width(), feature_stride_};
  const Bfloat16* x0 = at(places_.features);
  const Bfloat16* x = x0;
  for (const CrossLayer& layer : cross_layers_) {
    Bfloat16* map = at(layer.map);
    if (layer.weight.inputs > 0) {
      RETURN_IF_ERROR(multiply(layer.weight, x, map, Type::kBfloat16, pass));
    } else {
      RETURN_IF_ERROR(multiply(layer.down, x, at(layer.low), Type::kBfloat16, pass));
      RETURN_IF_ERROR(multiply(layer.up, at(layer.low), map, Type::kBfloat16, pass));
    }
    RETURN_IF_ERROR(
        cuda::cross_layer_forward(shape, x0, x, map, pass.weights + layer.bias, at(layer.output), pass.stream));
    x = at(layer.output);
  }
  return Status::ok();
}

bool TabularDevice::want_features() const {
  const TabularShape& shape = model_->shape();
  return !shape.categorical.empty() || !numeric_layers_.empty() || shape.interaction == Interaction::kCross;
}

const kernels::Bfloat16* TabularDevice::interacted() const {
  switch (model_->shape().interaction) {
    case Interaction::kDot:
      return at(places_.interaction);
    case Interaction::kCross:
      return at(cross_layers_.back().output);
    case Interaction::kNone:
      break;
  }
  return at(places_.features);
}

Status TabularDevice::loss(const Pass& pass, double* loss) {
  const Layer& last = hidden_layers_.back();
  const cuda::LossShape shape{rows_, last.weight.out_stride, last.weight.out_stride};
  auto floats = [&](size_t place) { return reinterpret_cast<const float*>(pass.input + place); };
  const Bfloat16* bias = pass.weights + last.bias;
  const TabularShape& model = model_->shape();
  if (model.classes > 0) {
    return cuda::softmax_cross_entropy(shape, model.classes, at<float>(last.output), bias, floats(input_.label),
                                       floats(input_.weight), floats(input_.scale), at(places_.gradient),
                                       at<double>(places_.losses), loss, pass.stream);
  }
  auto one_output = model.binary ? cuda::bce_with_logits : cuda::squared_error;
  return one_output(shape, at<float>(last.output), bias, floats(input_.label), floats(input_.weight),
                    floats(input_.scale), at(places_.gradient), at<double>(places_.losses), loss, pass.stream);
}

Status TabularDevice::layers_backward(const std::vector<Layer>& layers, bool last_is_linear, const Bfloat16* input,
                                      bool want_input, Bfloat16** gradient, Bfloat16** spare, const Pass& pass) {
  for (size_t i = layers.size(); i-- > 0;) {
    const Layer& layer = layers[i];
    const cuda::DenseShape shape{rows_, layer.weight.outputs, layer.weight.out_stride};
    const bool is_last = i + 1 == layers.size();
    if (last_is_linear && is_last) {
      RETURN_IF_ERROR(
          cuda::bias_backward(shape, *gradient, pass.gradient + layer.bias, at<float>(places_.sums), pass.stream));
    } else if (is_last || !layer.is_fused) {
      RETURN_IF_ERROR(cuda::bias_relu_backward(shape, at(layer.output), *gradient, pass.gradient + layer.bias,
                                               at<float>(places_.sums), pass.stream));
    }
    RETURN_IF_ERROR(weight_gradient(layer.weight, *gradient, i == 0 ? input : at(layers[i - 1].output), pass));
    if (i == 0 && !want_input) break;
    const Layer* const below = i == 0 ? nullptr : &layers[i - 1];
    RETURN_IF_ERROR(multiply_back(layer.weight, *gradient, *spare, false, pass, below));
    std::swap(*gradient, *spare);
  }
  return Status::ok();
}

// `dy` becomes what reaches the features through the layers' own inputs; the rest is in feature_gradient.
Status TabularDevice::cross_backward(Bfloat16* dy, const Pass& pass) {
  const cuda::DenseShape shape{rows_, model_->feature_width(), feature_stride_};
  const Bfloat16* x0 = at(places_.features);
  for (size_t i = cross_layers_.size(); i-- > 0;) {
    const CrossLayer& layer = cross_layers_[i];
    const Bfloat16* x = i == 0 ? x0 : at(cross_layers_[i - 1].output);
    Bfloat16* map = at(layer.map);
    RETURN_IF_ERROR(cuda::cross_layer_backward(shape, x0, pass.weights + layer.bias, dy, i + 1 == cross_layers_.size(),
                                               map, at(places_.feature_gradient), pass.gradient + layer.bias,
                                               at<float>(places_.sums), pass.stream));
    if (layer.weight.inputs > 0) {
      RETURN_IF_ERROR(weight_gradient(layer.weight, map, x, pass));
      RETURN_IF_ERROR(multiply_back(layer.weight, map, dy, true, pass));
      continue;
    }
    Bfloat16* low = at(layer.low);
    RETURN_IF_ERROR(weight_gradient(layer.up, map, low, pass));
    // What the forward pass left there is not needed again.
    RETURN_IF_ERROR(multiply_back(layer.up, map, low, false, pass));
    RETURN_IF_ERROR(weight_gradient(layer.down, low, x, pass));
    RETURN_IF_ERROR(multiply_back(layer.down, low, dy, true, pass));
  }
  return Status::ok();
}

// From the gradient of what went into the hidden layers to tables and numeric layers.
Status TabularDevice::feature_backward(Bfloat16* gradient, Bfloat16* spare, const Pass& pass) {
  // That of the features is `own` + `more`; so is that of the numeric ones, from their columns on.
  const Bfloat16* own = gradient;
  const Bfloat16* more = nullptr;
  const Bfloat16* numeric = nullptr;
  size_t more_stride = feature_stride_;
  switch (model_->shape().interaction) {
    case Interaction::kNone:
      break;
    case Interaction::kDot:
      own = at(places_.feature_gradient);
      numeric = gradient;
      more_stride = interaction_stride_;
      RETURN_IF_ERROR(cuda::dot_interaction_backward(dot_shape(), at(places_.features), gradient + numeric_width_,
                                                     at(places_.feature_gradient), pass.stream));
      break;
    case Interaction::kCross:
      RETURN_IF_ERROR(cross_backward(gradient, pass));
      own = at(places_.feature_gradient);
      more = gradient;
      numeric = gradient + numeric_column();
      break;
  }
  RETURN_IF_ERROR(embeddings_->backward(words_of(pass), slot_of(pass), own, more, feature_stride_, pass.stream));
  if (numeric_layers_.empty()) return Status::ok();
  RETURN_IF_ERROR(cuda::copy_rows(rows_, numeric_width_, own + numeric_column(), feature_stride_, numeric, more_stride,
                                  spare, numeric_stride_, pass.stream));
  return layers_backward(numeric_layers_, false, at(places_.numeric_input), false, &spare, &gradient, pass);
}

Status TabularDevice::forward_backward(const std::byte* input, const Bfloat16* weights, float* gradient, double* loss,
                                       cuda::Stream* stream) {
  const Pass pass{input, weights, gradient, stream->get()};
  const Interaction interaction = model_->shape().interaction;
  RETURN_IF_ERROR(copy_weights(pass));
  RETURN_IF_ERROR(gather_features(pass));
  if (interaction == Interaction::kDot) RETURN_IF_ERROR(dot_forward(pass));
  if (interaction == Interaction::kCross) RETURN_IF_ERROR(cross_forward(pass));
  RETURN_IF_ERROR(layers_forward(hidden_layers_, true, interacted(), pass));
  RETURN_IF_ERROR(this->loss(pass, loss));
  Bfloat16* own = at(places_.gradient);
  Bfloat16* spare = at(places_.spare);
  RETURN_IF_ERROR(layers_backward(hidden_layers_, true, interacted(), want_features(), &own, &spare, pass));
  if (want_features()) RETURN_IF_ERROR(feature_backward(own, spare, pass));
  return copy_gradients(pass);
}

}  // namespace freshet::worker
