#include "worker/checkpoint/gpt_artifact.h"

#include <boost/json.hpp>

#include "base/file.h"
#include "worker/checkpoint/artifact_writer.h"

namespace freshet::worker {
namespace {

constexpr const char* kConfig = "config.json";
constexpr const char* kVocabulary = "vocab.json";
constexpr const char* kMerges = "merges.txt";
constexpr const char* kTokenizerConfig = "tokenizer_config.json";
// Ours, for what Hugging Face's configuration has no key for.
constexpr const char* kCompute = "freshet_compute";
constexpr const char* kTokens = "freshet_tokens";

boost::json::object gpt2_config(const GptConfig& config) {
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

boost::json::object llama_config(const GptConfig& config) {
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
          {"attention_bias", false},
          {"mlp_bias", false},
          {"freshet_dropout", config.dropout},
          {"tie_word_embeddings", config.tied}};
}

std::string config_json(const GptConfig& config, const GptTokenizer& tokenizer) {
  boost::json::object root = config.style == GptConfig::Style::kGpt2 ? gpt2_config(config) : llama_config(config);
  root["bos_token_id"] = tokenizer.get().end_of_text();
  root["eos_token_id"] = tokenizer.get().end_of_text();
  root["torch_dtype"] = "float32";
  root[kCompute] = config.compute == GptConfig::Compute::kBfloat16 ? "bfloat16" : "float32";
  root[kTokens] = tokenizer.vocabulary() == nullptr ? "bytes" : "byte-pairs";
  return boost::json::serialize(root) + "\n";
}

// Reads what config_json() wrote; throws when a key is missing or of another type.
GptConfig parse_config(const boost::json::object& root) {
  auto number = [&](const char* key) { return root.at(key).to_number<uint32_t>(); };
  GptConfig config;
  const bool is_llama = root.at("model_type").as_string() == "llama";
  config.style = is_llama ? GptConfig::Style::kLlama : GptConfig::Style::kGpt2;
  config.compute =
      root.at(kCompute).as_string() == "bfloat16" ? GptConfig::Compute::kBfloat16 : GptConfig::Compute::kFloat32;
  config.vocabulary = number("vocab_size");
  config.tied = root.at("tie_word_embeddings").as_bool();
  config.context = number(is_llama ? "max_position_embeddings" : "n_positions");
  config.width = number(is_llama ? "hidden_size" : "n_embd");
  config.layers = number(is_llama ? "num_hidden_layers" : "n_layer");
  config.heads = number(is_llama ? "num_attention_heads" : "n_head");
  config.kv_heads = is_llama ? number("num_key_value_heads") : config.heads;
  config.feed_forward = number(is_llama ? "intermediate_size" : "n_inner");
  config.epsilon = root.at(is_llama ? "rms_norm_eps" : "layer_norm_epsilon").to_number<float>();
  config.dropout = root.at(is_llama ? "freshet_dropout" : "resid_pdrop").to_number<float>();
  if (is_llama) config.rope_base = root.at("rope_theta").to_number<double>();
  return config;
}

}  // namespace

GptTokenizer::GptTokenizer(std::optional<Bpe> vocabulary) {
  if (vocabulary) {
    vocabulary_ = std::make_shared<const Bpe>(*std::move(vocabulary));
    tokenizer_ = vocabulary_;
  } else {
    tokenizer_ = byte_tokenizer();
  }
}

Result<GptModel> make_gpt(const v1::GptModel& wanted, size_t vocabulary_size) {
  GptConfig config;
  const bool is_llama = wanted.style() == v1::GptModel::LLAMA;
  config.style = is_llama ? GptConfig::Style::kLlama : GptConfig::Style::kGpt2;
  config.compute =
      wanted.compute() == v1::GptModel::BFLOAT16 ? GptConfig::Compute::kBfloat16 : GptConfig::Compute::kFloat32;
  config.layers = wanted.layers();
  config.heads = wanted.heads();
  config.kv_heads = wanted.kv_heads() == 0 ? wanted.heads() : wanted.kv_heads();
  config.width = wanted.width();
  config.feed_forward = wanted.feed_forward() == 0 ? 4 * wanted.width() : wanted.feed_forward();
  config.context = wanted.context();
  config.vocabulary = static_cast<uint32_t>(vocabulary_size);
  config.dropout = static_cast<float>(wanted.dropout());
  return GptModel::create(config);
}

Result<v1::ProducedOutput> save_gpt(const std::filesystem::path& output_dir, const GptTokenizer& tokenizer,
                                    const GptModel& model, const TrainedWeights& weights,
                                    v1::CheckpointInfo checkpoint) {
  ASSIGN_OR_RETURN(auto writer, ArtifactWriter::create(output_dir, "model", "model"));
  RETURN_IF_ERROR(writer.add_file(kConfig, config_json(model.config(), tokenizer)));
  if (const Bpe* vocabulary = tokenizer.vocabulary()) {
    RETURN_IF_ERROR(writer.add_file(kVocabulary, vocabulary->encoder_json()));
    RETURN_IF_ERROR(writer.add_file(kMerges, vocabulary->vocab_bpe()));
    RETURN_IF_ERROR(writer.add_file(kTokenizerConfig, "{\"tokenizer_class\": \"GPT2Tokenizer\"}\n"));
  }
  RETURN_IF_ERROR(add_weights(model.tensors(), weights, kGptFamily, std::move(checkpoint), &writer));
  return writer.seal();
}

Result<GptArtifact> load_gpt(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(auto manifest, verify_model(directory, kGptFamily, {kConfig}));
  ASSIGN_OR_RETURN(std::string json, read_file(directory / kConfig));
  GptConfig config;
  bool has_vocabulary = false;
  try {
    const boost::json::value root = boost::json::parse(json);
    config = parse_config(root.as_object());
    has_vocabulary = root.at(kTokens).as_string() == "byte-pairs";
  } catch (const std::exception& error) {
    return corrupt((directory / kConfig).string() + ": " + error.what());
  }
  std::optional<Bpe> vocabulary;
  if (has_vocabulary) {
    ASSIGN_OR_RETURN(std::string tokens, read_file(directory / kVocabulary));
    ASSIGN_OR_RETURN(std::string merges, read_file(directory / kMerges));
    ASSIGN_OR_RETURN(vocabulary, Bpe::parse(tokens, merges));
  }
  GptTokenizer tokenizer(std::move(vocabulary));
  if (tokenizer.get().vocabulary_size() != config.vocabulary) {
    return corrupt(directory.string() + ": the tokenizer has " + std::to_string(tokenizer.get().vocabulary_size()) +
                   " tokens and the model " + std::to_string(config.vocabulary));
  }
  ASSIGN_OR_RETURN(GptModel model, GptModel::create(config));
  ASSIGN_OR_RETURN(std::vector<float> parameters, read_weights(directory, manifest, model.tensors()));
  return GptArtifact{std::move(tokenizer), std::move(model), std::move(parameters), manifest.checkpoint()};
}

}  // namespace freshet::worker
