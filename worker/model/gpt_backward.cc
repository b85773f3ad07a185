#include <algorithm>

#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/embedding.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "worker/model/gpt_pass.h"

namespace freshet::worker {
namespace {

constexpr size_t kRowsInAJob = 32, kColumnsInAJob = 128;

}  // namespace

Product GptPass::input_gradient(const GptDense& dense, const GptRows& dy, float* dx) const {
  Product product;
  product.shape = {rows_, dense.inputs, dense.outputs};
  product.a = operand(dy, false);
  product.b = weight(dense.weight, dense.inputs_first ? dense.outputs : dense.inputs, dense.inputs_first);
  product.c = dx;
  product.c_stride = dense.inputs;
  return product;
}

Product GptPass::weight_gradient(const GptDense& dense, const GptRows& x, const GptRows& dy, float* gradient) const {
  Product product;
  const GptRows &left = dense.inputs_first ? x : dy, &right = dense.inputs_first ? dy : x;
  product.shape = {left.width, right.width, rows_};
  product.a = operand(left, true);
  product.b = operand(right, false);
  product.c = gradient + dense.weight;
  product.c_stride = right.width;
  return product;
}

void GptPass::add_bias_gradient(const GptDense& dense, const float* dy, float* gradient, Side* side) const {
  if (dense.bias == kNoTensor) return;
  for (size_t c = 0; c < dense.outputs; c += kColumnsInAJob) {
    side->push_back([=, rows = rows_, &dense] {
      kernels::column_sums({rows, std::min(kColumnsInAJob, dense.outputs - c), dense.outputs}, dy + c,
                           gradient + dense.bias + c);
    });
  }
}

Status GptPass::backward(float* gradient) {
  std::fill_n(w_.d_residual.f.data(), rows_ * config_.width, 0.0F);
  RETURN_IF_ERROR(norm_backward(layout_.final_norm, w_.last.f.data(), w_.mean_last, w_.scale_last, gradient));
  for (size_t l = config_.layers; l-- > 0;) {
    const GptLayer& at = layout_.layers[l];
    GptLayerState& layer = w_.layer(l);
    ASSIGN_OR_RETURN(const GptRows* d_added, masked_residual_gradient(2 * l + 2));
    RETURN_IF_ERROR(feed_forward_backward(at, layer, *d_added, gradient));
    RETURN_IF_ERROR(
        norm_backward(at.before_feed_forward, layer.middle.f.data(), layer.mean_middle, layer.scale_middle, gradient));

    ASSIGN_OR_RETURN(d_added, masked_residual_gradient(2 * l + 1));
    Side side;
    add_bias_gradient(at.attention_out, d_added->f.data(), gradient, &side);
    RETURN_IF_ERROR(run_products({input_gradient(at.attention_out, *d_added, w_.d_attended.f.data()),
                                  weight_gradient(at.attention_out, layer.attended, *d_added, gradient)},
                                 side, pool_));
    RETURN_IF_ERROR(attend_backward(layer));
    side.clear();
    add_bias_gradient(at.qkv, w_.d_qkv.f.data(), gradient, &side);
    RETURN_IF_ERROR(run_products({input_gradient(at.qkv, w_.d_qkv, w_.d_normed.f.data()),
                                  weight_gradient(at.qkv, layer.normed, w_.d_qkv, gradient)},
                                 side, pool_));
    RETURN_IF_ERROR(norm_backward(at.before_attention, layer.input.f.data(), layer.mean, layer.scale, gradient));
  }
  return embed_backward(gradient);
}

Result<const GptRows*> GptPass::masked_residual_gradient(size_t dropout_site) {
  if (dropout_ == 0) return &w_.d_residual;
  const size_t width = config_.width;
  RETURN_IF_ERROR(run_rows(
      rows_, kRowsInAJob,
      [&](size_t begin, size_t end) {
        const float* from = w_.d_residual.f.data();
        std::copy(from + begin * width, from + end * width, w_.d_added.f.data() + begin * width);
        drop(dropout_site, begin, end, w_.d_added.f.data());
        round(w_.d_added, {begin, end - begin, 0, width});
      },
      pool_));
  return &w_.d_added;
}

Status GptPass::norm_backward(const GptNorm& at, const float* h, const CacheArray<float>& mean,
                              const CacheArray<float>& scale, float* gradient) {
  const size_t width = config_.width, row_jobs = (rows_ + kRowsInAJob - 1) / kRowsInAJob;
  const size_t column_jobs = (width + kColumnsInAJob - 1) / kColumnsInAJob;
  const float *weight = parameters_.values + at.weight, *dy = w_.d_normed.f.data();
  const bool centred = at.bias != kNoTensor;
  return pool_->run(row_jobs + column_jobs, [&](size_t job, unsigned) {
    if (job >= row_jobs) {
      const size_t begin = (job - row_jobs) * kColumnsInAJob, end = std::min(width, begin + kColumnsInAJob);
      const kernels::NormShape shape{rows_, width, config_.epsilon};
      if (centred) {
        kernels::layer_norm_weight_gradient(shape, begin, end, h, mean.data(), scale.data(), dy, gradient + at.weight,
                                            gradient + at.bias);
      } else {
        kernels::rms_norm_weight_gradient(shape, begin, end, h, scale.data(), dy, gradient + at.weight);
      }
      return Status::ok();
    }
    const size_t row = job * kRowsInAJob, from = row * width;
    const kernels::NormShape shape{std::min(kRowsInAJob, rows_ - row), width, config_.epsilon};
    float* d = w_.d_residual.f.data() + from;
    if (centred) {
      kernels::layer_norm_gradient(shape, h + from, weight, mean.data() + row, scale.data() + row, dy + from, d);
    } else {
      kernels::rms_norm_gradient(shape, h + from, weight, scale.data() + row, dy + from, d);
    }
    round(w_.d_residual, {row, shape.rows, 0, width});
    return Status::ok();
  });
}

Status GptPass::feed_forward_backward(const GptLayer& at, GptLayerState& layer, const GptRows& d_added,
                                      float* gradient) {
  const size_t active = config_.feed_forward;
  const bool gated = config_.style == GptConfig::Style::kLlama;
  float *d = w_.d_active.f.data(), *y = w_.active.f.data();
  const float* hidden = layer.hidden.f.data();
  Product product = input_gradient(at.feed_forward_out, d_added, d);
  if (!gated) {
    product.then = [&](const TileRange& t) {
      const size_t from = t.row * active + t.column;
      kernels::gelu_gradient({t.rows, t.columns, active}, hidden + from, d + from, y + from);
      round(w_.active, t);
      round(w_.d_active, t);
    };
  }
  Side side;
  add_bias_gradient(at.feed_forward_out, d_added.f.data(), gradient, &side);
  RETURN_IF_ERROR(run_products({product}, side, pool_));
  if (gated) {
    RETURN_IF_ERROR(run_rows(
        rows_, kRowsInAJob,
        [&](size_t begin, size_t end) {
          const float* gate = hidden + begin * 2 * active;
          float* d_gate = w_.d_hidden.f.data() + begin * 2 * active;
          kernels::swiglu_gradient({end - begin, active, 2 * active}, gate, gate + active, d + begin * active, d_gate,
                                   d_gate + active, y + begin * active, active);
          round(w_.active, {begin, end - begin, 0, active});
          round(w_.d_hidden, {begin, end - begin, 0, 2 * active});
        },
        pool_));
  }
  const GptRows& d_hidden = gated ? w_.d_hidden : w_.d_active;
  side.clear();
  add_bias_gradient(at.hidden, d_hidden.f.data(), gradient, &side);
  return run_products({input_gradient(at.hidden, d_hidden, w_.d_normed.f.data()),
                       weight_gradient(at.hidden, layer.normed_middle, d_hidden, gradient),
                       weight_gradient(at.feed_forward_out, w_.active, d_added, gradient)},
                      side, pool_);
}

Status GptPass::attend_backward(GptLayerState& layer) {
  const size_t size = config_.head_size(), group = config_.heads / config_.kv_heads, stride = config_.qkv_width();
  return pool_->run(batch_.sequences * config_.kv_heads, [&](size_t job, unsigned thread) {
    const size_t sequence = job / config_.kv_heads, head = job % config_.kv_heads, row = sequence * batch_.length;
    const size_t q = row * stride + head * group * size, k = row * stride + (config_.heads + head) * size;
    const size_t v = k + config_.kv_heads * size, out = row * config_.width + head * group * size;
    const float* from = layer.qkv.f.data();
    float* d = w_.d_qkv.f.data();
    const float* log_sum = layer.log_sum.data() + row * config_.heads + head * group * batch_.length;
    kernels::attention_gradient({batch_.length, group, size, stride, config_.width}, from + q, from + k, from + v,
                                layer.attended.f.data() + out, log_sum, w_.d_attended.f.data() + out, d + q, d + k,
                                d + v, w_.scratch[thread].data());
    if (!w_.rope.empty()) {
      kernels::rope_gradient({batch_.length, group, size, stride}, w_.rope.data(), 0, d + q);
      kernels::rope_gradient({batch_.length, 1, size, stride}, w_.rope.data(), 0, d + k);
    }
    round(w_.d_qkv, {row, batch_.length, head * group * size, group * size});
    round(w_.d_qkv, {row, batch_.length, (config_.heads + head) * size, size});
    round(w_.d_qkv, {row, batch_.length, (config_.heads + config_.kv_heads + head) * size, size});
    return Status::ok();
  });
}

Status GptPass::embed_backward(float* gradient) {
  const size_t width = config_.width;
  float* d = w_.d_residual.f.data();
  RETURN_IF_ERROR(run_rows(rows_, kRowsInAJob, [&](size_t begin, size_t end) { drop(0, begin, end, d); }, pool_));
  float* tokens = gradient + layout_.token_embedding;
  if (layout_.output != layout_.token_embedding) {
    RETURN_IF_ERROR(run_rows(
        config_.vocabulary, 1024,
        [&](size_t begin, size_t end) { std::fill(tokens + begin * width, tokens + end * width, 0.0F); }, pool_));
  }
  kernels::embedding_gradient(rows_, width, batch_.tokens, d, width, tokens);
  if (layout_.position_embedding != kNoTensor) {
    float* positions = gradient + layout_.position_embedding;
    std::fill_n(positions, size_t{config_.context} * width, 0.0F);
    kernels::embedding_gradient(rows_, width, w_.positions.data(), d, width, positions);
  }
  return Status::ok();
}

}  // namespace freshet::worker
