#include "kernels/cuda/activation.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/embedding.h"
#include "worker/gpu/gpt_device_pass.h"

namespace freshet::worker {

using cuda::Epilogue;

Status GptDevicePass::backward(const GptDevice::PartReady& is_ready) {
  RETURN_IF_ERROR(norm_backward(layout_.final_norm, &layout_.layers.back().feed_forward_out, plan_.last,
                                plan_.mean_last, plan_.scale_last, plan_.normed_last, true));
  RETURN_IF_ERROR(is_ready(size_t{config_.layers} + 1));
  for (size_t l = config_.layers; l-- > 0;) {
    // What the last layer left in the forward pass is still there.
    if (makes_again(Recompute::kLayers) && l + 1 < config_.layers) {
      RETURN_IF_ERROR(attend(l, true));
      RETURN_IF_ERROR(feed_forward(l, true));
    }
    RETURN_IF_ERROR(feed_forward_backward(l));
    RETURN_IF_ERROR(attend_backward(l));
    RETURN_IF_ERROR(is_ready(l + 1));
  }
  RETURN_IF_ERROR(embed_backward());
  return is_ready(0);
}

Status GptDevicePass::norm_backward(const GptNorm& at, const GptDense* added, size_t h, size_t mean, size_t scale,
                                    size_t dy, bool is_first) {
  const kernels::NormShape shape{rows_, config_.width, config_.epsilon};
  Bfloat16* dh = values(plan_.d_residual);
  float *scratch = floats(plan_.norm_scratch), *dweight = gradient_ + at.weight;
  if (gated()) {
    return cuda::rms_norm_backward(shape, values(h), weight(at.weight), floats(scale), values(dy), is_first, dh,
                                   dweight, scratch, stream_);
  }
  float* const added_bias = added == nullptr || dropout_ > 0 ? nullptr : gradient_ + added->bias;
  return cuda::layer_norm_backward(shape, values(h), weight(at.weight), floats(mean), floats(scale), values(dy),
                                   is_first, dh, dweight, gradient_ + at.bias, added_bias, scratch, stream_);
}

Status GptDevicePass::norm_again(const GptNorm& at, size_t h, size_t mean, size_t scale, size_t y) {
  return cuda::norm_again({rows_, config_.width, config_.epsilon}, values(h), weight(at.weight), weight(at.bias),
                          floats(mean), floats(scale), values(y), stream_);
}

Result<const GptDevicePass::Bfloat16*> GptDevicePass::masked_residual_gradient(const GptDense& added, size_t site) {
  const Bfloat16* const d_residual = values(plan_.d_residual);
  if (dropout_ == 0) return d_residual;
  Bfloat16* const d_added = values(plan_.d_added);
  if (added.bias == kNoTensor) {
    RETURN_IF_ERROR(drop(site, d_residual, d_added));
  } else {
    RETURN_IF_ERROR(cuda::dropout_backward({dropout_, input_.dropout_seed, 0}, input_.dropout + site, rows_,
                                           config_.width, d_residual, d_added, gradient_ + added.bias,
                                           floats(plan_.sums_scratch), stream_));
  }
  return d_added;
}

Status GptDevicePass::input_gradient(const GptDense& dense, const Bfloat16* dy, size_t dx, Epilogue epilogue, size_t z,
                                     float* bias_gradient) {
  cuda::ProductOperands operands;
  operands.a = dy;
  operands.a_stride = dense.outputs;
  operands.b = weight(dense.weight);
  operands.b_stride = dense.inputs_first ? dense.outputs : dense.inputs;
  operands.c = values(dx);
  operands.c_stride = dense.inputs;
  operands.z = z == kNoBuffer ? nullptr : values(z);
  operands.bias_gradient = bias_gradient;
  return dense_product(dense, Float8Array::kOutputGradient, input_gradient_product(dense, rows_, epilogue), operands);
}

Status GptDevicePass::weight_gradient(const GptDense& dense, size_t x, const Bfloat16* dy, Epilogue epilogue) {
  cuda::CudaStream stream = stream_;
  if (side_ != nullptr) {
    RETURN_IF_ERROR(side_->begins.record(stream_));
    RETURN_IF_ERROR(side_->stream.wait(side_->begins));
    stream = side_->stream.get();
  }
  cuda::ProductOperands operands{values(x), dense.inputs, dy, dense.outputs};
  if (!dense.inputs_first) operands = {dy, dense.outputs, values(x), dense.inputs};
  operands.c = gradient_ + dense.weight;
  operands.c_stride = operands.b_stride;
  if (cuda::has_bias_gradient(epilogue)) operands.bias_gradient = gradient_ + dense.bias;
  cuda::Products& products = side_ == nullptr ? products_ : side_->products;
  return products.run(weight_gradient_product(dense, rows_, epilogue), operands, stream);
}

Status GptDevicePass::join() {
  if (side_ == nullptr) return Status::ok();
  RETURN_IF_ERROR(side_->ends.record(side_->stream.get()));
  return main_.wait(side_->ends);
}

Status GptDevicePass::feed_forward_backward(size_t l) {
  const GptLayer& at = layout_.layers[l];
  const GptDeviceLayer& now = layer(l);
  const size_t columns = config_.feed_forward;
  ASSIGN_OR_RETURN(const Bfloat16* d_added, masked_residual_gradient(at.feed_forward_out, 2 * l + 2));
  if (makes_again(Recompute::kActivations) || makes_again(Recompute::kNorms)) {
    RETURN_IF_ERROR(gated() ? cuda::swiglu_forward(rows_, columns, values(now.hidden), values(now.active), stream_)
                            : cuda::gelu_forward(rows_ * columns, values(now.hidden), values(now.active), stream_));
  }
  RETURN_IF_ERROR(weight_gradient(at.feed_forward_out, now.active, d_added));
  if (gated()) {
    RETURN_IF_ERROR(input_gradient(at.feed_forward_out, d_added, plan_.d_active, activation_gradient_of(config_)));
    RETURN_IF_ERROR(cuda::swiglu_backward(rows_, columns, values(now.hidden), values(plan_.d_active),
                                          values(plan_.d_hidden), stream_));
  } else {
    RETURN_IF_ERROR(input_gradient(at.feed_forward_out, d_added, plan_.d_hidden, activation_gradient_of(config_),
                                   now.hidden, gradient_ + at.hidden.bias));
  }
  if (makes_again(Recompute::kNorms)) {
    RETURN_IF_ERROR(
        norm_again(at.before_feed_forward, now.middle, now.mean_middle, now.scale_middle, now.normed_middle));
  }
  const Bfloat16* d_hidden = values(plan_.d_hidden);
  RETURN_IF_ERROR(weight_gradient(at.hidden, now.normed_middle, d_hidden));
  RETURN_IF_ERROR(input_gradient(at.hidden, d_hidden, plan_.d_normed, Epilogue::kNone));
  RETURN_IF_ERROR(join());
  return norm_backward(at.before_feed_forward, &at.attention_out, now.middle, now.mean_middle, now.scale_middle,
                       plan_.d_normed, false);
}

Status GptDevicePass::attend_backward(size_t l) {
  const GptLayer& at = layout_.layers[l];
  const GptDeviceLayer& now = layer(l);
  ASSIGN_OR_RETURN(const Bfloat16* d_added, masked_residual_gradient(at.attention_out, 2 * l + 1));
  RETURN_IF_ERROR(weight_gradient(at.attention_out, now.attended, d_added));
  RETURN_IF_ERROR(input_gradient(at.attention_out, d_added, plan_.d_attended, Epilogue::kNone));

  const size_t keys = size_t{config_.heads} * config_.head_size();
  const size_t values_of_keys = keys + size_t{config_.kv_heads} * config_.head_size();
  const Bfloat16* qkv = values(now.qkv);
  Bfloat16* d_qkv = values(plan_.d_qkv);
  RETURN_IF_ERROR(cuda::attention_backward(plan_.attention(config_), qkv, qkv + keys, qkv + values_of_keys,
                                           values(now.attended), floats(now.log_sum), values(plan_.d_attended), d_qkv,
                                           d_qkv + keys, d_qkv + values_of_keys, arena_ + plan_.attention_scratch,
                                           stream_, plan_.options.attention_version));
  RETURN_IF_ERROR(rope(floats(plan_.rope), d_qkv, true));

  if (makes_again(Recompute::kNorms)) {
    RETURN_IF_ERROR(norm_again(at.before_attention, now.input, now.mean, now.scale, now.normed));
  }
  RETURN_IF_ERROR(weight_gradient(at.qkv, now.normed, d_qkv, qkv_bias_gradient_of(at.qkv)));
  RETURN_IF_ERROR(input_gradient(at.qkv, d_qkv, plan_.d_normed, Epilogue::kNone));
  RETURN_IF_ERROR(join());
  const GptDense* const added = l == 0 ? nullptr : &layout_.layers[l - 1].feed_forward_out;
  return norm_backward(at.before_attention, added, now.input, now.mean, now.scale, plan_.d_normed, false);
}

Status GptDevicePass::embed_backward() {
  const size_t width = config_.width, length = plan_.shape.length;
  Bfloat16* d = values(plan_.d_residual);
  RETURN_IF_ERROR(drop(0, d, d));
  float* tokens = gradient_ + layout_.token_embedding;
  // Where it is tied, the output matrix has left its gradient there.
  if (layout_.output != layout_.token_embedding) {
    RETURN_IF_ERROR(cuda::fill_bytes(tokens, 0, config_.vocabulary * width * sizeof(float), stream_));
  }
  RETURN_IF_ERROR(
      cuda::embedding_backward(rows_, width, input_.runs, d, tokens, floats(plan_.embedding_scratch), stream_));
  if (layout_.position_embedding == kNoTensor) return Status::ok();
  float* positions = gradient_ + layout_.position_embedding;
  RETURN_IF_ERROR(cuda::position_backward(rows_, width, length, d, positions, stream_));
  if (length == config_.context) return Status::ok();
  return cuda::fill_bytes(positions + length * width, 0, (config_.context - length) * width * sizeof(float), stream_);
}

}  // namespace freshet::worker
