#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/dropout.h"
#include "kernels/embedding.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "worker/model/gpt_pass.h"

namespace freshet::worker {
namespace {

constexpr size_t kRowsInAJob = 32;

}  // namespace

GptPass::GptPass(const GptModel& model, const GptBatch& batch, const GptParameters& parameters, bool dropout,
                 ThreadPool* pool, GptWorkspace* workspace)
    : config_(model.config()),
      layout_(model.layout()),
      batch_(batch),
      parameters_(parameters),
      dropout_(dropout ? model.config().dropout : 0),
      pool_(pool),
      w_(*workspace),
      rows_(batch.rows()),
      bfloat16_(model.config().rounds_operands()) {
  CHECK(rows_ <= w_.rows_max && (!bfloat16_ || parameters.bfloat16 != nullptr));
  for (size_t r = 0; r < rows_; ++r) w_.positions[r] = static_cast<int32_t>(r % batch.length);
  const size_t scratch =
      kernels::attention_scratch({batch.length, 1, config_.head_size(), config_.qkv_width(), config_.width});
  w_.scratch.resize(pool->threads());
  for (auto& one : w_.scratch) one.resize(std::max(one.size(), scratch));
}

Factor GptPass::weight(size_t offset, size_t stride, bool transposed) const {
  return {parameters_.values + offset, bfloat16_ ? parameters_.bfloat16 + offset : nullptr, stride, transposed};
}

Factor GptPass::operand(const GptRows& rows, bool transposed, size_t first_row) const {
  return {rows.f.data() + first_row * rows.width, bfloat16_ ? rows.h.data() + first_row * rows.width : nullptr,
          rows.width, transposed};
}

// The tile once more as the products take it.
void GptPass::round(const GptRows& rows, const TileRange& tile) {
  if (rows.h.data() == nullptr) return;
  const size_t at = tile.row * rows.width + tile.column;
  kernels::to_bfloat16(tile.rows, tile.columns, rows.width, rows.f.data() + at, rows.h.data() + at);
}

void GptPass::drop(size_t site, size_t begin, size_t end, float* rows) const {
  if (dropout_ == 0) return;
  const uint64_t first_row = batch_.first_sequence * batch_.length + begin;
  kernels::dropout({dropout_, batch_.dropout_seed, gpt_dropout_stream(config_, batch_.dropout_step, site)},
                   first_row * config_.width, (end - begin) * config_.width, rows + begin * config_.width);
}

Product GptPass::forward_product(const GptDense& dense, const GptRows& x, float* y) const {
  Product product;
  product.shape = {rows_, dense.outputs, dense.inputs};
  product.a = operand(x, false);
  product.b = weight(dense.weight, dense.inputs_first ? dense.outputs : dense.inputs, !dense.inputs_first);
  product.c = y;
  product.c_stride = dense.outputs;
  if (dense.bias != kNoTensor) {
    const float* bias = parameters_.values + dense.bias;
    product.then = [bias, y, stride = dense.outputs](const TileRange& t) {
      kernels::bias_add({t.rows, t.columns, stride}, bias + t.column, y + t.row * stride + t.column);
    };
  }
  return product;
}

Status GptPass::forward() {
  RETURN_IF_ERROR(embed());
  for (size_t l = 0; l < config_.layers; ++l) {
    const GptLayer& at = layout_.layers[l];
    GptLayerState& layer = w_.layer(l);
    const bool first = l == 0;
    RETURN_IF_ERROR(norm(at.before_attention, first ? layer.input.f.data() : w_.layer(l - 1).middle.f.data(),
                         first ? nullptr : w_.added.f.data(), 2 * l, layer.input.f.data(), layer.normed, layer.mean,
                         layer.scale));
    RETURN_IF_ERROR(run_products({forward_product(at.qkv, layer.normed, layer.qkv.f.data())}, {}, pool_));
    RETURN_IF_ERROR(attend(layer));
    RETURN_IF_ERROR(run_products({forward_product(at.attention_out, layer.attended, w_.added.f.data())}, {}, pool_));
    RETURN_IF_ERROR(norm(at.before_feed_forward, layer.input.f.data(), w_.added.f.data(), 2 * l + 1,
                         layer.middle.f.data(), layer.normed_middle, layer.mean_middle, layer.scale_middle));
    RETURN_IF_ERROR(feed_forward(at, layer));
  }
  return norm(layout_.final_norm, w_.layer(config_.layers - 1).middle.f.data(), w_.added.f.data(),
              2 * size_t{config_.layers}, w_.last.f.data(), w_.normed_last, w_.mean_last, w_.scale_last);
}

Status GptPass::embed() {
  const size_t width = config_.width;
  float* out = w_.layer(0).input.f.data();
  return run_rows(
      rows_, kRowsInAJob,
      [&](size_t begin, size_t end) {
        kernels::embedding_forward(end - begin, width, batch_.tokens + begin,
                                   parameters_.values + layout_.token_embedding, out + begin * width, width);
        if (layout_.position_embedding != kNoTensor) {
          kernels::embedding_add(end - begin, width, w_.positions.data() + begin,
                                 parameters_.values + layout_.position_embedding, out + begin * width, width);
        }
        drop(0, begin, end, out);
      },
      pool_);
}

// sum = x + add, with dropout's mask of `dropout_site` on what is added; y = norm(sum).
Status GptPass::norm(const GptNorm& at, const float* x, float* add, size_t dropout_site, float* sum, GptRows& y,
                     CacheArray<float>& mean, CacheArray<float>& scale) {
  const size_t width = config_.width;
  const float* weight = parameters_.values + at.weight;
  return run_rows(
      rows_, kRowsInAJob,
      [&](size_t begin, size_t end) {
        if (add != nullptr) drop(dropout_site, begin, end, add);
        const kernels::NormShape shape{end - begin, width, config_.epsilon};
        const size_t from = begin * width;
        const float* more = add == nullptr ? nullptr : add + from;
        if (at.bias == kNoTensor) {
          kernels::rms_norm_forward(shape, x + from, more, weight, sum + from, y.f.data() + from, scale.data() + begin);
        } else {
          kernels::layer_norm_forward(shape, x + from, more, weight, parameters_.values + at.bias, sum + from,
                                      y.f.data() + from, mean.data() + begin, scale.data() + begin);
        }
        round(y, {begin, end - begin, 0, width});
      },
      pool_);
}

// A job is one sequence and one key-value head.
Status GptPass::attend(GptLayerState& layer) {
  const size_t size = config_.head_size(), group = config_.heads / config_.kv_heads, stride = config_.qkv_width();
  return pool_->run(batch_.sequences * config_.kv_heads, [&](size_t job, unsigned thread) {
    const size_t sequence = job / config_.kv_heads, head = job % config_.kv_heads, row = sequence * batch_.length;
    float* q = layer.qkv.f.data() + row * stride + head * group * size;
    float* k = layer.qkv.f.data() + row * stride + (config_.heads + head) * size;
    const float* v = k + config_.kv_heads * size;
    if (!w_.rope.empty()) {
      kernels::rope_forward({batch_.length, group, size, stride}, w_.rope.data(), 0, q);
      kernels::rope_forward({batch_.length, 1, size, stride}, w_.rope.data(), 0, k);
    }
    float* out = layer.attended.f.data() + row * config_.width + head * group * size;
    float* log_sum = layer.log_sum.data() + row * config_.heads + head * group * batch_.length;
    kernels::attention_forward({batch_.length, group, size, stride, config_.width}, q, k, v, out, log_sum,
                               w_.scratch[thread].data());
    round(layer.attended, {row, batch_.length, head * group * size, group * size});
    return Status::ok();
  });
}

Status GptPass::feed_forward(const GptLayer& at, GptLayerState& layer) {
  const size_t active = config_.feed_forward;
  float *hidden = layer.hidden.f.data(), *y = w_.active.f.data();
  Product product = forward_product(at.hidden, layer.normed_middle, hidden);
  const bool gated = config_.style == GptConfig::Style::kLlama;
  if (!gated) {
    product.then = [&, bias = parameters_.values + at.hidden.bias](const TileRange& t) {
      const size_t from = t.row * active + t.column;
      kernels::bias_gelu_forward({t.rows, t.columns, active}, bias + t.column, hidden + from, y + from);
      round(w_.active, t);
    };
  }
  RETURN_IF_ERROR(run_products({product}, {}, pool_));
  if (gated) {
    RETURN_IF_ERROR(run_rows(
        rows_, kRowsInAJob,
        [&](size_t begin, size_t end) {
          const float* gate = hidden + begin * 2 * active;
          kernels::swiglu_forward({end - begin, active, 2 * active}, gate, gate + active, y + begin * active, active);
          round(w_.active, {begin, end - begin, 0, active});
        },
        pool_));
  }
  return run_products({forward_product(at.feed_forward_out, w_.active, w_.added.f.data())}, {}, pool_);
}

Status GptPass::logits(size_t first, size_t step, size_t rows, float* out) {
  Product product;
  product.shape = {rows, config_.vocabulary, config_.width};
  product.a = operand(w_.normed_last, false, first);
  product.a.stride *= step;
  product.b = weight(layout_.output, config_.width, true);
  product.c = out;
  product.c_stride = config_.vocabulary;
  return run_products({product}, {}, pool_);
}

}  // namespace freshet::worker
