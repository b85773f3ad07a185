#include "worker/checkpoint/gpt_config_json.h"

#include <boost/json.hpp>
#include <utility>

namespace freshet::worker {
namespace {

using boost::json::object;
using boost::json::value;

// Ours, for what Hugging Face's configuration has no key for.
constexpr const char* kCompute = "freshet_compute";
constexpr const char* kTokens = "freshet_tokens";
constexpr const char* kDropout = "freshet_dropout";

constexpr std::pair<GptConfig::Compute, const char*> kComputes[] = {{GptConfig::Compute::kFloat32, "float32"},
                                                                    {GptConfig::Compute::kBfloat16, "bfloat16"},
                                                                    {GptConfig::Compute::kFloat8, "float8"}};

object gpt2_config(const GptConfig& config) {
  return {{"architectures", {"GPT2LMHeadModel"}},
          {"model_type", "gpt2"},
          {"vocab_size", config.vocabulary},
          {"n_positions", config.context},
          {"n_embd", config.width},
          {"n_layer", config.layers},
          {"n_head", config.heads},
          {"n_inner", config.feed_forward},
          {"activation_function", "gelu_new"},
          {"layer_norm_epsilon", config.epsilon},
          {"embd_pdrop", config.dropout},
          {"resid_pdrop", config.dropout},
          {"attn_pdrop", 0.0},
          {"tie_word_embeddings", true}};
}

object llama_config(const GptConfig& config) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", config.vocabulary},
          {"max_position_embeddings", config.context},
          {"hidden_size", config.width},
          {"intermediate_size", config.feed_forward},
          {"num_hidden_layers", config.layers},
          {"num_attention_heads", config.heads},
          {"num_key_value_heads", config.kv_heads},
          {"hidden_act", "silu"},
          {"rms_norm_eps", config.epsilon},
          {"rope_theta", config.rope_base},
          {"rope_parameters", {{"rope_theta", config.rope_base}, {"rope_type", "default"}}},  // transformers from 5 on
          {"attention_bias", false},
          {"mlp_bias", false},
          {kDropout, config.dropout},
          {"tie_word_embeddings", config.tied}};
}

// A key's value; null when it is missing or null, which transformers takes for the same.
const value* find(const object& root, const char* key) {
  const value* found = root.if_contains(key);
  return found == nullptr || found->is_null() ? nullptr : found;
}

template <class Number>
Number number(const object& root, const char* key, Number otherwise) {
  const value* found = find(root, key);
  return found == nullptr ? otherwise : found->to_number<Number>();
}

// invalid_argument unless the key is missing or says what our model does anyway.
Status require(const object& root, const char* key, const value& wanted) {
  const value* found = find(root, key);
  if (found == nullptr || *found == wanted) return Status::ok();
  return invalid_argument("its configuration has " + std::string(key) + " " + boost::json::serialize(*found) +
                          "; only " + boost::json::serialize(wanted) + " can be read");
}

Status parse_gpt2(const object& root, GptConfig* config) {
  RETURN_IF_ERROR(require(root, "activation_function", "gelu_new"));
  RETURN_IF_ERROR(require(root, "scale_attn_weights", true));
  RETURN_IF_ERROR(require(root, "scale_attn_by_inverse_layer_idx", false));
  RETURN_IF_ERROR(require(root, "add_cross_attention", false));
  config->style = GptConfig::Style::kGpt2;
  config->tied = find(root, "tie_word_embeddings") == nullptr || root.at("tie_word_embeddings").as_bool();
  config->context = root.at("n_positions").to_number<uint32_t>();
  config->width = root.at("n_embd").to_number<uint32_t>();
  config->layers = root.at("n_layer").to_number<uint32_t>();
  config->heads = root.at("n_head").to_number<uint32_t>();
  config->kv_heads = config->heads;
  config->feed_forward = number(root, "n_inner", 4 * config->width);
  config->epsilon = number(root, "layer_norm_epsilon", 1e-5F);
  config->dropout = number(root, "resid_pdrop", 0.1F);
  return Status::ok();
}

Status parse_llama(const object& root, GptConfig* config) {
  RETURN_IF_ERROR(require(root, "hidden_act", "silu"));
  RETURN_IF_ERROR(require(root, "attention_bias", false));
  RETURN_IF_ERROR(require(root, "mlp_bias", false));
  config->style = GptConfig::Style::kLlama;
  config->tied = find(root, "tie_word_embeddings") != nullptr && root.at("tie_word_embeddings").as_bool();
  config->context = root.at("max_position_embeddings").to_number<uint32_t>();
  config->width = root.at("hidden_size").to_number<uint32_t>();
  config->layers = root.at("num_hidden_layers").to_number<uint32_t>();
  config->heads = root.at("num_attention_heads").to_number<uint32_t>();
  config->kv_heads = number(root, "num_key_value_heads", config->heads);
  config->feed_forward = root.at("intermediate_size").to_number<uint32_t>();
  config->epsilon = number(root, "rms_norm_eps", 1e-6F);
  config->dropout = number(root, kDropout, 0.0F);
  if (config->heads > 0) RETURN_IF_ERROR(require(root, "head_dim", config->width / config->heads));
  // Written by transformers before 5 and from then on.
  RETURN_IF_ERROR(require(root, "rope_scaling", nullptr));
  config->rope_base = number(root, "rope_theta", 10000.0);
  if (const value* rope = find(root, "rope_parameters")) {
    RETURN_IF_ERROR(require(rope->as_object(), "rope_type", "default"));
    config->rope_base = number(rope->as_object(), "rope_theta", config->rope_base);
  }
  return Status::ok();
}

Result<GptConfigJson> parse(const object& root) {
  GptConfigJson parsed;
  const std::string type(root.at("model_type").as_string());
  if (type != "gpt2" && type != "llama") {
    return invalid_argument("it is a model of the type " + type + "; only gpt2 and llama can be read");
  }
  RETURN_IF_ERROR(type == "gpt2" ? parse_gpt2(root, &parsed.config) : parse_llama(root, &parsed.config));
  parsed.config.vocabulary = root.at("vocab_size").to_number<uint32_t>();
  if (const value* compute = find(root, kCompute)) {
    for (const auto& [of, name] : kComputes) {
      if (compute->as_string() == name) parsed.config.compute = of;
    }
  }
  if (const value* tokens = find(root, kTokens)) parsed.has_vocabulary = tokens->as_string() == "byte-pairs";
  if (const value* end = find(root, "eos_token_id"); end != nullptr && end->is_number()) {
    parsed.end_of_text = end->to_number<uint32_t>();
  }
  return parsed;
}

}  // namespace

std::string write_gpt_config(const GptConfigJson& wanted) {
  const GptConfig& config = wanted.config;
  object root = config.style == GptConfig::Style::kGpt2 ? gpt2_config(config) : llama_config(config);
  root["bos_token_id"] = wanted.end_of_text;
  root["eos_token_id"] = wanted.end_of_text;
  root["torch_dtype"] = "float32";
  for (const auto& [of, name] : kComputes) {
    if (config.compute == of) root[kCompute] = name;
  }
  root[kTokens] = wanted.has_vocabulary ? "byte-pairs" : "bytes";
  return boost::json::serialize(root) + "\n";
}

Result<GptConfigJson> parse_gpt_config(std::string_view json) {
  try {
    return parse(boost::json::parse(json).as_object());
  } catch (const std::exception& error) {
    return corrupt(error.what());
  }
}

}  // namespace freshet::worker
