#include "kernels/cuda/activation.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/embedding.h"
#include "worker/gpu/gpt_device_pass.h"

namespace freshet::worker {

using cuda::Epilogue;

GptDevicePass::GptDevicePass(const GptModel& model, const GptDevicePlan& plan, std::byte* arena,
                             cuda::Products* products, const GptDeviceInput& input, const Bfloat16* weights,
                             float* gradient, cuda::Stream* stream, GptDeviceSide* side)
    : config_(model.config()),
      layout_(model.layout()),
      plan_(plan),
      arena_(arena),
      float8_(plan.has_float8() && gradient != nullptr ? std::optional(GptDeviceFloat8(plan, arena)) : std::nullopt),
      products_(*products),
      input_(input),
      weights_(weights),
      gradient_(gradient),
      main_(*stream),
      side_(side),
      stream_(stream->get()),
      rows_(plan.shape.rows()),
      dropout_(gradient == nullptr ? 0 : model.config().dropout) {}

Status GptDevicePass::forward() {
  if (float8_) {
    const auto scales = float8_->scales();
    RETURN_IF_ERROR(cuda::begin_float8_micro_batch(scales.size(), scales.data(), stream_));
  }
  RETURN_IF_ERROR(embed());
  for (size_t l = 0; l < config_.layers; ++l) {
    RETURN_IF_ERROR(attend(l, false));
    RETURN_IF_ERROR(feed_forward(l, false));
  }
  return norm(layout_.final_norm, layer(config_.layers - 1).middle, plan_.added, 2 * size_t{config_.layers}, plan_.last,
              plan_.normed_last, plan_.mean_last, plan_.scale_last);
}

Status GptDevicePass::embed() {
  Bfloat16* out = values(layer(0).input);
  RETURN_IF_ERROR(cuda::embedding_forward(rows_, config_.width, plan_.shape.length, input_.tokens,
                                          weight(layout_.token_embedding), weight(layout_.position_embedding), out,
                                          stream_));
  return drop(0, out, out);
}

Status GptDevicePass::drop(size_t site, const Bfloat16* x, Bfloat16* y) {
  if (dropout_ == 0) return Status::ok();
  return cuda::dropout({dropout_, input_.dropout_seed, 0}, input_.dropout + site, rows_ * config_.width, x, y, stream_);
}

Status GptDevicePass::norm(const GptNorm& at, size_t x, size_t add, size_t dropout_site, size_t sum, size_t y,
                           size_t mean, size_t scale) {
  const kernels::NormShape shape{rows_, config_.width, config_.epsilon};
  Bfloat16 *more = nullptr, *h = nullptr;
  if (add != kNoBuffer) {
    more = values(add);
    h = values(sum);
    RETURN_IF_ERROR(drop(dropout_site, more, more));
  }
  if (gated()) {
    return cuda::rms_norm_forward(shape, values(x), more, weight(at.weight), h, values(y), floats(scale), stream_);
  }
  return cuda::layer_norm_forward(shape, values(x), more, weight(at.weight), weight(at.bias), h, values(y),
                                  floats(mean), floats(scale), stream_);
}

Status GptDevicePass::dense_product(const GptDense& dense, Float8Array values, const cuda::ProductShape& shape,
                                    cuda::ProductOperands operands) {
  if (!float8_) return products_.run(shape, operands, stream_);
  cuda::Float8Scale* const scale = float8_->scale(dense, values);
  RETURN_IF_ERROR(cuda::quantize_float8({shape.m, shape.k, operands.a_stride, shape.k, 0},
                                        static_cast<const Bfloat16*>(operands.a), scale, float8_->values(), nullptr,
                                        stream_));
  operands.a = float8_->values();
  operands.a_scale = &scale->scale;
  operands.b = float8_->weight(dense, values == Float8Array::kInput);
  operands.b_scale = &float8_->scale(dense, Float8Array::kWeight)->scale;
  operands.a_stride = operands.b_stride = shape.k;
  return products_.run(in_float8(shape), operands, stream_);
}

Status GptDevicePass::forward_dense(const GptDense& dense, size_t x, size_t y, Epilogue epilogue, size_t z) {
  cuda::ProductOperands operands;
  operands.a = values(x);
  operands.a_stride = dense.inputs;
  operands.b = weight(dense.weight);
  operands.b_stride = dense.inputs_first ? dense.outputs : dense.inputs;
  operands.c = values(y);
  operands.c_stride = dense.outputs;
  operands.bias = weight(dense.bias);
  operands.z = z == kNoBuffer ? nullptr : values(z);
  return dense_product(dense, Float8Array::kInput, forward_product(dense, rows_, epilogue), operands);
}

Status GptDevicePass::rope(const float* table, Bfloat16* qkv, bool backward) {
  if (table == nullptr) return Status::ok();
  // Queries and keys stand side by side.
  const kernels::RopeShape shape{rows_, size_t{config_.heads} + config_.kv_heads, config_.head_size(),
                                 config_.qkv_width()};
  return backward ? cuda::rope_backward(shape, plan_.shape.length, table, qkv, stream_)
                  : cuda::rope_forward(shape, plan_.shape.length, table, qkv, stream_);
}

Status GptDevicePass::attend(size_t l, bool again) {
  const GptLayer& at = layout_.layers[l];
  const GptDeviceLayer& now = layer(l);
  const bool added = l > 0 && !again;
  RETURN_IF_ERROR(norm(at.before_attention, added ? layer(l - 1).middle : now.input, added ? plan_.added : kNoBuffer,
                       2 * l, now.input, now.normed, now.mean, now.scale));
  RETURN_IF_ERROR(forward_dense(at.qkv, now.normed, now.qkv, bias_of(at.qkv)));
  Bfloat16* q = values(now.qkv);
  RETURN_IF_ERROR(rope(floats(plan_.rope), q, false));
  const Bfloat16* k = q + size_t{config_.heads} * config_.head_size();
  const Bfloat16* v = k + size_t{config_.kv_heads} * config_.head_size();
  RETURN_IF_ERROR(cuda::attention_forward(plan_.attention(config_), q, k, v, values(now.attended), floats(now.log_sum),
                                          stream_, plan_.options.attention_version));
  return forward_dense(at.attention_out, now.attended, plan_.added, bias_of(at.attention_out));
}

Status GptDevicePass::feed_forward(size_t l, bool again) {
  const GptLayer& at = layout_.layers[l];
  const GptDeviceLayer& now = layer(l);
  RETURN_IF_ERROR(norm(at.before_feed_forward, now.input, plan_.added, 2 * l + 1, now.middle, now.normed_middle,
                       now.mean_middle, now.scale_middle));
  if (gated()) {
    RETURN_IF_ERROR(forward_dense(at.hidden, now.normed_middle, now.hidden, activation_of(config_)));
    RETURN_IF_ERROR(cuda::swiglu_forward(rows_, config_.feed_forward, values(now.hidden), values(now.active), stream_));
  } else {
    RETURN_IF_ERROR(forward_dense(at.hidden, now.normed_middle, now.active, activation_of(config_), now.hidden));
  }
  if (again) return Status::ok();
  return forward_dense(at.feed_forward_out, now.active, plan_.added, bias_of(at.feed_forward_out));
}

}  // namespace freshet::worker
