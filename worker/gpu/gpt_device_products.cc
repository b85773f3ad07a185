#include "worker/gpu/gpt_device_products.h"

#include <algorithm>

namespace freshet::worker {

using cuda::Epilogue;
using cuda::ProductShape;
using cuda::Type;

ProductShape forward_product(const GptDense& dense, size_t rows, Epilogue epilogue) {
  ProductShape shape{rows, dense.outputs, dense.inputs};
  shape.b_transposed = !dense.inputs_first;
  shape.epilogue = epilogue;
  return shape;
}

ProductShape input_gradient_product(const GptDense& dense, size_t rows, Epilogue epilogue) {
  ProductShape shape{rows, dense.inputs, dense.outputs};
  shape.b_transposed = dense.inputs_first;
  shape.epilogue = epilogue;
  return shape;
}

ProductShape weight_gradient_product(const GptDense& dense, size_t rows, Epilogue epilogue) {
  ProductShape shape{dense.inputs, dense.outputs, rows};
  shape.epilogue = epilogue;
  if (!dense.inputs_first) std::swap(shape.m, shape.n);
  shape.a_transposed = true;
  shape.result = Type::kFloat32;
  return shape;
}

ProductShape in_float8(ProductShape shape) {
  shape.operands = Type::kFloat8;
  shape.b_transposed = true;
  return shape;
}

ProductShape logits_product(const GptConfig& config, size_t rows) {
  ProductShape shape{rows, config.vocabulary, config.width};
  shape.b_transposed = true;
  return shape;
}

ProductShape logits_input_gradient_product(const GptConfig& config, size_t rows) {
  return {rows, config.width, config.vocabulary};
}

ProductShape logits_weight_gradient_product(const GptConfig& config, size_t rows, bool is_first) {
  ProductShape shape{config.vocabulary, config.width, rows};
  shape.a_transposed = true;
  shape.result = Type::kFloat32;
  shape.accumulate = !is_first;
  return shape;
}

ProductShape next_token_product(const GptConfig& config, size_t sequences) {
  ProductShape shape = logits_product(config, sequences);
  shape.result = Type::kFloat32;
  return shape;
}

Epilogue bias_of(const GptDense& dense) { return dense.bias == kNoTensor ? Epilogue::kNone : Epilogue::kBias; }

Epilogue qkv_bias_gradient_of(const GptDense& qkv) {
  return qkv.bias == kNoTensor ? Epilogue::kNone : Epilogue::kBiasGradient;
}

Epilogue activation_of(const GptConfig& config) {
  return config.style == GptConfig::Style::kGpt2 ? Epilogue::kBiasGelu : Epilogue::kNone;
}

Epilogue activation_gradient_of(const GptConfig& config) {
  return config.style == GptConfig::Style::kGpt2 ? Epilogue::kGeluGradient : Epilogue::kNone;
}

std::vector<ProductShape> gpt_device_products(const GptConfig& config, const GptDevicePlan& plan) {
  const GptLayout layout(config);
  const GptLayer& layer = layout.layers[0];
  const size_t rows = plan.shape.rows();
  std::vector<ProductShape> shapes{next_token_product(config, plan.shape.sequences)};
  // Without a gradient products are in bfloat16, too.
  auto add_forward = [&](const ProductShape& shape) {
    shapes.push_back(shape);
    if (plan.has_float8()) shapes.push_back(in_float8(shape));
  };
  auto add_backward = [&](const ProductShape& shape) {
    shapes.push_back(plan.has_float8() ? in_float8(shape) : shape);
  };
  add_forward(forward_product(layer.hidden, rows, activation_of(config)));
  for (const GptDense* dense : {&layer.qkv, &layer.attention_out, &layer.feed_forward_out}) {
    add_forward(forward_product(*dense, rows, bias_of(*dense)));
  }
  for (size_t row = 0; row < rows; row += plan.head_rows) {
    const size_t chunk = std::min(plan.head_rows, rows - row);
    shapes.push_back(logits_product(config, chunk));
    if (!plan.options.training) continue;
    shapes.push_back(logits_input_gradient_product(config, chunk));
    shapes.push_back(logits_weight_gradient_product(config, chunk, row == 0));
  }
  if (plan.options.training) {
    add_backward(input_gradient_product(layer.feed_forward_out, rows, activation_gradient_of(config)));
    for (const GptDense* dense : {&layer.qkv, &layer.attention_out, &layer.hidden}) {
      add_backward(input_gradient_product(*dense, rows, Epilogue::kNone));
    }
    shapes.push_back(weight_gradient_product(layer.qkv, rows, qkv_bias_gradient_of(layer.qkv)));
    for (const GptDense* dense : {&layer.attention_out, &layer.hidden, &layer.feed_forward_out}) {
      shapes.push_back(weight_gradient_product(*dense, rows, Epilogue::kNone));
    }
  }
  std::sort(shapes.begin(), shapes.end());
  shapes.erase(std::unique(shapes.begin(), shapes.end()), shapes.end());
  return shapes;
}

}  // namespace freshet::worker
