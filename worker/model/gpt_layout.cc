#include "worker/model/gpt_layout.h"

namespace freshet::worker {

Status GptConfig::check() const {
  auto refuse = [](const std::string& what) { return invalid_argument("gpt: " + what); };
  if (layers == 0 || heads == 0 || width == 0 || context == 0 || vocabulary == 0 || feed_forward == 0) {
    return refuse("layers, heads, width, feed_forward, context and vocabulary must be above 0");
  }
  if (width % heads != 0) {
    return refuse("width " + std::to_string(width) + " is no multiple of heads " + std::to_string(heads));
  }
  if (width % 4 != 0) return refuse("width " + std::to_string(width) + " is no multiple of 4");
  if (kv_heads == 0 || heads % kv_heads != 0) {
    return refuse("heads " + std::to_string(heads) + " is no multiple of kv_heads " + std::to_string(kv_heads));
  }
  if (style == Style::kGpt2 && kv_heads != heads) {
    return refuse("the GPT-2 style has no grouped queries: set kv_heads to heads, or use the Llama style");
  }
  if (style == Style::kGpt2 && !tied) return refuse("the GPT-2 style ties its output to the embedding: set tied");
  if (style == Style::kLlama && head_size() % 2 != 0) {
    return refuse("rotary positions need heads of an even size, not " + std::to_string(head_size()));
  }
  if (!(dropout >= 0 && dropout < 1)) return refuse("dropout must be at least 0 and below 1");
  if (compute == Compute::kFloat8 && (width % 16 != 0 || feed_forward % 16 != 0)) {
    return refuse("8-bit floats want width " + std::to_string(width) + " and feed_forward " +
                  std::to_string(feed_forward) + " to be multiples of 16");
  }
  if (vocabulary > INT32_MAX) return refuse("vocabulary must be below 2^31");
  return Status::ok();
}

GptLayout::GptLayout(const GptConfig& config) {
  if (config.style == GptConfig::Style::kGpt2) {
    add_gpt2(config);
  } else {
    add_llama(config);
  }
}

size_t GptLayout::add(const std::string& name, std::vector<uint64_t> shape) {
  size_t size = 1;
  for (uint64_t dimension : shape) size *= dimension;
  const size_t offset = parameters;
  tensors.push_back({name, std::move(shape), offset, size});
  parameters += size;
  return offset;
}

void GptLayout::add_gpt2(const GptConfig& config) {
  const uint64_t width = config.width;
  auto norm = [&](const std::string& name) {
    GptNorm made;
    made.weight = add(name + ".weight", {width});
    made.bias = add(name + ".bias", {width});
    return made;
  };
  auto dense = [&](const std::string& name, uint64_t inputs, uint64_t outputs) {
    GptDense made{inputs, outputs, 0, 0, true};
    made.weight = add(name + ".weight", {inputs, outputs});
    made.bias = add(name + ".bias", {outputs});
    return made;
  };
  token_embedding = add("transformer.wte.weight", {config.vocabulary, width});
  position_embedding = add("transformer.wpe.weight", {config.context, width});
  for (uint32_t i = 0; i < config.layers; ++i) {
    const std::string prefix = "transformer.h." + std::to_string(i) + ".";
    GptLayer layer;
    layer.before_attention = norm(prefix + "ln_1");
    layer.qkv = dense(prefix + "attn.c_attn", width, config.qkv_width());
    layer.attention_out = dense(prefix + "attn.c_proj", width, width);
    layer.before_feed_forward = norm(prefix + "ln_2");
    layer.hidden = dense(prefix + "mlp.c_fc", width, config.feed_forward);
    layer.feed_forward_out = dense(prefix + "mlp.c_proj", config.feed_forward, width);
    layers.push_back(layer);
  }
  final_norm = norm("transformer.ln_f");
  output = token_embedding;
}

void GptLayout::add_llama(const GptConfig& config) {
  const uint64_t width = config.width, hidden = config.feed_forward, keys = config.kv_heads * config.head_size();
  token_embedding = add("model.embed_tokens.weight", {config.vocabulary, width});
  for (uint32_t i = 0; i < config.layers; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    GptLayer layer;
    layer.before_attention.weight = add(prefix + "input_layernorm.weight", {width});
    layer.qkv = {width, config.qkv_width(), add(prefix + "self_attn.q_proj.weight", {width, width})};
    add(prefix + "self_attn.k_proj.weight", {keys, width});
    add(prefix + "self_attn.v_proj.weight", {keys, width});
    layer.attention_out = {width, width, add(prefix + "self_attn.o_proj.weight", {width, width})};
    layer.before_feed_forward.weight = add(prefix + "post_attention_layernorm.weight", {width});
    layer.hidden = {width, 2 * hidden, add(prefix + "mlp.gate_proj.weight", {hidden, width})};
    add(prefix + "mlp.up_proj.weight", {hidden, width});
    layer.feed_forward_out = {hidden, width, add(prefix + "mlp.down_proj.weight", {width, hidden})};
    layers.push_back(layer);
  }
  final_norm.weight = add("model.norm.weight", {width});
  output = config.tied ? token_embedding : add("lm_head.weight", {config.vocabulary, width});
}

}  // namespace freshet::worker
