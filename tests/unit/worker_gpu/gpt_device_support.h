// Tiny gpts, their tokens, and one micro-batch of them on a device and on the CPU. Tests only.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "base/random.h"
#include "kernels/cuda/embedding.h"
#include "tests/unit/kernels_cuda/support.h"
#include "worker/gpu/gpt_device.h"
#include "worker/model/gpt.h"

namespace freshet::worker {

using cuda::Array;
using Style = GptConfig::Style;

inline GptConfig tiny_gpt(Style style) {
  GptConfig config;
  config.style = style;
  config.layers = 2;
  config.heads = 2;
  config.kv_heads = style == Style::kLlama ? 1 : 2;
  config.width = 128;
  config.feed_forward = 200;
  config.context = 48;
  config.vocabulary = 101;
  return config;
}

inline GptModel model_of(const GptConfig& config) {
  auto model = GptModel::create(config);
  CHECK_MSG(model.is_ok(), model.status().to_string());
  return *std::move(model);
}

struct SomeTokens {
  SomeTokens(const GptConfig& config, const GptDeviceShape& of_shape) : shape(of_shape) {
    Philox philox(5, stream_of("tokens"));
    for (size_t i = 0; i < shape.rows(); ++i) {
      tokens.push_back(static_cast<int32_t>(philox.below(2 * i, config.vocabulary)));
      targets.push_back(static_cast<int32_t>(philox.below(2 * i + 1, config.vocabulary)));
    }
    targets[shape.length / 2] = -1;
  }
  GptBatch batch() const {
    GptBatch batch;
    batch.sequences = shape.sequences;
    batch.length = shape.length;
    batch.tokens = tokens.data();
    batch.targets = targets.data();
    return batch;
  }
  GptDeviceShape shape;
  std::vector<int32_t> tokens, targets;
};

// Such as bfloat16 holds; larger than at the start of a training, so that no part of the model is nearly linear.
inline std::vector<float> weights_of(const GptModel& model) {
  std::vector<float> weights(model.parameters());
  model.initialise(11, weights.data());
  Philox philox(3, stream_of("wider"));
  for (size_t i = 0; i < weights.size(); ++i) weights[i] += 0.3F * static_cast<float>(philox.uniform(i) - 0.5);
  return cuda::widened(cuda::narrowed(weights));
}

struct GptPassResult {
  double loss = 0;
  std::vector<float> gradient;
};

inline GptPassResult cpu_forward_backward(const GptModel& model, const GptBatch& batch,
                                          const std::vector<float>& weights, float scale = 1) {
  ThreadPool pool(1);
  GptModel::Workspace workspace(model, batch.rows(), true);
  GptPassResult result;
  result.gradient.resize(weights.size());
  auto loss = model.forward_backward(batch, scale, {weights.data()}, result.gradient.data(), &pool, &workspace);
  CHECK_MSG(loss.is_ok(), loss.status().to_string());
  result.loss = *loss;
  return result;
}

// Length of the difference, relative to that of what is expected.
inline double relative_error(const float* actual, const float* expected, size_t count) {
  double difference = 0, square = 0;
  for (size_t i = 0; i < count; ++i) {
    const double a = static_cast<double>(actual[i]), e = static_cast<double>(expected[i]);
    difference += (a - e) * (a - e);
    square += e * e;
  }
  return std::sqrt(difference / square);
}

// Each rounding to bfloat16 is off by at most 2^-9, and they are independent. On the way of a gradient there are about
// ten of them in a layer, and as many on its way back; each is made larger by what is not linear behind it, by no more
// than two as seen in float32.
inline double gradient_tolerance(const GptConfig& config) {
  return 2 * std::sqrt(20.0 * (config.layers + 1)) * cuda::kRounding16;
}

inline void expect_close_gradients(const GptModel& model, const GptPassResult& actual, const GptPassResult& expected) {
  for (const auto& tensor : model.tensors()) {
    EXPECT_LT(
        relative_error(actual.gradient.data() + tensor.offset, expected.gradient.data() + tensor.offset, tensor.size),
        gradient_tolerance(model.config()))
        << tensor.name;
  }
}

}  // namespace freshet::worker
