#include "worker/gpu/gpt_device_plan.h"

#include <algorithm>
#include <bit>
#include <string>

#include "kernels/cuda/activation.h"
#include "kernels/cuda/embedding.h"
#include "kernels/cuda/norm.h"
#include "worker/gpu/gpt_device_float8.h"
#include "worker/gpu/memory_plan.h"

namespace freshet::worker {
namespace {

// In the order of a pass; those of a layer come again for each layer.
enum Phase : unsigned {
  kEmbed,
  kAttend,
  kFeedForward,
  kFinalNorm,
  kHead,
  kFinalNormGradient,
  kAttendAgain,
  kFeedForwardAgain,
  kFeedForwardOutGradient,
  kActivationGradient,
  kHiddenGradient,
  kMiddleNormGradient,
  kAttentionOutGradient,
  kAttentionGradient,
  kQkvGradient,
  kInputNormGradient,
  kEmbedGradient,
};

using Phases = MemoryPlan::Phases;
constexpr auto in = MemoryPlan::in;
constexpr auto from_to = MemoryPlan::from_to;

constexpr size_t kHeadRowsLeast = 16;
constexpr size_t kLogitsBorder = 64;  // elements: a row of logits begins on a border of 128 bytes

Status check(const GptConfig& config, const GptDeviceShape& shape, const GptDeviceOptions& options) {
  RETURN_IF_ERROR(config.check());
  auto refuse = [](const std::string& what) { return invalid_argument("gpt on a GPU: " + what); };
  auto no_multiple = [&](const std::string& name, size_t value) {
    return refuse(name + " " + std::to_string(value) +
                  " is no multiple of 8, so that tensors do not begin on borders " + "of 16 bytes");
  };
  if (config.width % 8 != 0) return no_multiple("width", config.width);
  if (config.feed_forward % 8 != 0) return no_multiple("feed_forward", config.feed_forward);
  if (config.head_size() != 64 && config.head_size() != 128) {
    return refuse("heads are of " + std::to_string(config.head_size()) +
                  " elements (width / heads), and attention takes 64 or 128: change width or heads");
  }
  if (config.width > cuda::kNormWidthMax) {
    return refuse("width " + std::to_string(config.width) + " is above " + std::to_string(cuda::kNormWidthMax));
  }
  if (shape.rows() == 0) return refuse("a micro-batch needs a sequence, and a sequence a token");
  if (shape.length > config.context) {
    return refuse("a sequence of " + std::to_string(shape.length) + " tokens is longer than the context of " +
                  std::to_string(config.context));
  }
  if (options.float8 && (config.width % 16 != 0 || config.feed_forward % 16 != 0 || shape.rows() % 16 != 0)) {
    return refuse("8-bit floats want width, feed_forward and the tokens of a micro-batch to be multiples of 16");
  }
  if (shape.rows() > INT32_MAX) return refuse("a micro-batch must have fewer than 2^31 tokens");
  return Status::ok();
}

size_t head_rows(const GptDevicePlan& plan) {
  const size_t rows = std::bit_floor(plan.options.head_bytes / (plan.logits_stride * sizeof(kernels::Bfloat16)));
  return std::min(std::max(rows, kHeadRowsLeast), plan.shape.rows());
}

class Planner {
 public:
  Planner(const GptConfig& config, const GptDeviceShape& shape, const GptDeviceOptions& options)
      : config_(config), rows_(shape.rows()), training_(options.training), level_(options.recompute) {
    plan_.shape = shape;
    plan_.options = options;
    plan_.logits_stride = (size_t{config.vocabulary} + kLogitsBorder - 1) / kLogitsBorder * kLogitsBorder;
    plan_.head_rows = head_rows(plan_);
  }

  GptDevicePlan plan() {
    plan_.layers.resize(training_ ? config_.layers : 1);
    for (size_t l = 0; l < plan_.layers.size(); ++l) add_layer(l);
    add_forward();
    if (training_ && plan_.options.float8) add_float8();
    if (training_) add_backward();
    plan_.bytes = memory_.place();
    plan_.bytes_least = memory_.bytes_least();
    // Where one buffer serves all layers, only the first knew its place.
    for (auto [to, from] : shared_) *to = *from;
    return plan_;
  }

 private:
  bool gated() const { return config_.style == GptConfig::Style::kLlama; }
  void values(size_t* offset, size_t columns, Phases phases) {
    memory_.add(rows_ * columns * sizeof(kernels::Bfloat16), phases, offset);
  }
  void floats(size_t* offset, size_t count, Phases phases) { memory_.add(count * sizeof(float), phases, offset); }

  // `forward`: the phases that need it there; `last`: the last phase of the backward pass that does.
  Phases kept(Phases forward, Phase last) const {
    if (!training_) return forward;
    if (level_ == Recompute::kLayers) return from_to(static_cast<unsigned>(std::countr_zero(forward)), last);
    return forward | from_to(kAttend, kInputNormGradient);  // other layers' phases come in between
  }

  void add_layer(size_t l) {
    GptDeviceLayer &layer = plan_.layers[l], &first = plan_.layers[0];
    const size_t width = config_.width;
    const bool centred = !gated();
    // One for all layers when it is made again.
    auto add = [&](size_t GptDeviceLayer::* member, size_t columns, Phases phases, bool again, bool is_float = false) {
      if (again && l > 0) {
        shared_.emplace_back(&(layer.*member), &(first.*member));
      } else if (is_float) {
        floats(&(layer.*member), rows_ * columns, phases);
      } else {
        values(&(layer.*member), columns, phases);
      }
    };
    const bool layers = level_ == Recompute::kLayers, norms = layers || level_ == Recompute::kNorms;
    const bool activations = norms || level_ == Recompute::kActivations;
    // Those made again from what is kept of a layer: needed when they are made, and from then on until `last`.
    auto twice = [&](bool again, Phase forward, Phase made, Phase last) {
      return again && !layers && training_ ? in(forward) | from_to(made, last) : kept(in(forward), last);
    };
    add(&GptDeviceLayer::input, width, training_ ? from_to(kEmbed, kInputNormGradient) : from_to(kEmbed, kFeedForward),
        false);
    add(&GptDeviceLayer::normed, width, twice(norms, kAttend, kQkvGradient, kQkvGradient), norms);
    add(&GptDeviceLayer::qkv, config_.qkv_width(), kept(in(kAttend), kAttentionGradient), layers);
    add(&GptDeviceLayer::attended, width, kept(in(kAttend), kQkvGradient), layers);
    add(&GptDeviceLayer::log_sum, config_.heads, kept(in(kAttend), kAttentionGradient), layers, true);
    add(&GptDeviceLayer::middle, width, kept(from_to(kAttend, kFinalNorm), kMiddleNormGradient), layers);
    add(&GptDeviceLayer::normed_middle, width, twice(norms, kFeedForward, kHiddenGradient, kHiddenGradient), norms);
    add(&GptDeviceLayer::hidden, config_.hidden_width(), kept(in(kFeedForward), kActivationGradient), layers);
    add(&GptDeviceLayer::active, config_.feed_forward,
        twice(activations, kFeedForward, kFeedForwardOutGradient, kHiddenGradient), activations);
    add(&GptDeviceLayer::scale, 1, kept(in(kAttend), kInputNormGradient), layers, true);
    add(&GptDeviceLayer::scale_middle, 1, kept(in(kFeedForward), kMiddleNormGradient), layers, true);
    if (!centred) return;
    add(&GptDeviceLayer::mean, 1, kept(in(kAttend), kInputNormGradient), layers, true);
    add(&GptDeviceLayer::mean_middle, 1, kept(in(kFeedForward), kMiddleNormGradient), layers, true);
  }

  void add_forward() {
    const size_t width = config_.width;
    const Phases forward = from_to(kAttend, kFinalNorm), again = from_to(kAttendAgain, kFeedForwardAgain);
    values(&plan_.added, width, level_ == Recompute::kLayers ? forward | again : forward);
    const Phases end = from_to(kFinalNorm, kFinalNormGradient);
    values(&plan_.last, width, end);
    values(&plan_.normed_last, width, end);
    floats(&plan_.scale_last, rows_, end);
    if (!gated()) floats(&plan_.mean_last, rows_, end);
    memory_.add(plan_.head_rows * plan_.logits_stride * sizeof(kernels::Bfloat16), in(kHead), &plan_.logits);
    floats(&plan_.losses, rows_, in(kHead));
    if (gated()) {
      floats(&plan_.rope, plan_.shape.length * config_.head_size(), from_to(kEmbed, kEmbedGradient));
    }
  }

  void add_float8() {
    const size_t widest = std::max({size_t{config_.width}, config_.qkv_width(), config_.hidden_width()});
    const Phases products = from_to(kAttend, kFeedForward) | from_to(kAttendAgain, kFeedForwardAgain) |
                            from_to(kActivationGradient, kHiddenGradient) |
                            from_to(kAttentionOutGradient, kQkvGradient);
    memory_.add(rows_ * widest * sizeof(kernels::Float8), products, &plan_.float8_values);
    for (const GptLayer& layer : GptLayout(config_).layers) {
      for (const GptDense& dense : {layer.qkv, layer.attention_out, layer.hidden, layer.feed_forward_out}) {
        plan_.float8_dense.push_back(dense);
      }
    }
    const GptDense &first = plan_.float8_dense.front(), &last = plan_.float8_dense.back();
    const size_t weights = last.weight + last.inputs * last.outputs - first.weight;
    const size_t arrays = kFloat8Arrays * plan_.float8_dense.size();
    const Phases always = from_to(kEmbed, kEmbedGradient);
    memory_.add(weights * sizeof(kernels::Float8), always, &plan_.float8_weights);
    memory_.add(weights * sizeof(kernels::Float8), always, &plan_.float8_weights_transposed);
    memory_.add(arrays * sizeof(cuda::Float8History), always, &plan_.float8_histories);
    memory_.add(arrays * sizeof(cuda::Float8Scale), always, &plan_.float8_scales);
  }

  void add_backward() {
    const size_t width = config_.width;
    // The gradients of weights are made beside all this, up to the next gradient of a norm.
    const Phases weights =
        from_to(kFeedForwardOutGradient, kHiddenGradient) | from_to(kAttentionOutGradient, kQkvGradient);
    values(&plan_.d_residual, width, from_to(kFinalNormGradient, kEmbedGradient));
    if (config_.dropout > 0) {
      values(&plan_.d_added, width, weights);
    }
    values(&plan_.d_normed, width,
           from_to(kHiddenGradient, kMiddleNormGradient) | from_to(kQkvGradient, kInputNormGradient));
    values(&plan_.d_attended, width, from_to(kAttentionOutGradient, kAttentionGradient));
    values(&plan_.d_qkv, config_.qkv_width(), from_to(kAttentionGradient, kQkvGradient));
    if (gated()) values(&plan_.d_active, config_.feed_forward, in(kActivationGradient));
    values(&plan_.d_hidden, config_.hidden_width(), from_to(kActivationGradient, kHiddenGradient));
    memory_.add(cuda::attention_backward_scratch(plan_.attention(config_)), in(kAttentionGradient),
                &plan_.attention_scratch);
    const kernels::NormShape norm{rows_, width, config_.epsilon};
    floats(&plan_.norm_scratch, cuda::norm_backward_scratch(norm),
           in(kFinalNormGradient) | in(kMiddleNormGradient) | in(kInputNormGradient));
    floats(&plan_.embedding_scratch, cuda::embedding_backward_scratch(rows_, width), in(kEmbedGradient));
    if (gated() || config_.dropout == 0) return;
    floats(&plan_.sums_scratch, cuda::dropout_backward_scratch(rows_, width),
           in(kFeedForwardOutGradient) | in(kAttentionOutGradient));
  }

  const GptConfig& config_;
  const size_t rows_;
  const bool training_;
  const Recompute level_;
  GptDevicePlan plan_;
  MemoryPlan memory_;
  std::vector<std::pair<size_t*, const size_t*>> shared_;
};

}  // namespace

cuda::AttentionShape GptDevicePlan::attention(const GptConfig& config) const {
  return {shape.sequences,    shape.length,       config.heads, config.kv_heads,
          config.head_size(), config.qkv_width(), config.width};
}

Result<GptDevicePlan> plan_gpt_device(const GptConfig& config, const GptDeviceShape& shape,
                                      const GptDeviceOptions& options) {
  RETURN_IF_ERROR(check(config, shape, options));
  return Planner(config, shape, options).plan();
}

}  // namespace freshet::worker
