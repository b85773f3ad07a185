#include "worker/checkpoint/gpt_artifact.h"

#include "base/file.h"
#include "worker/checkpoint/artifact_writer.h"
#include "worker/checkpoint/gpt_config_json.h"

namespace freshet::worker {
namespace {

constexpr const char* kConfig = "config.json";
constexpr const char* kVocabulary = "vocab.json";
constexpr const char* kMerges = "merges.txt";
constexpr const char* kTokenizerConfig = "tokenizer_config.json";

GptConfig::Compute compute_of(v1::GptModel::Compute wanted) {
  if (wanted == v1::GptModel::BFLOAT16) return GptConfig::Compute::kBfloat16;
  if (wanted == v1::GptModel::FLOAT8) return GptConfig::Compute::kFloat8;
  return GptConfig::Compute::kFloat32;
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

bool GptTokenizer::operator==(const GptTokenizer& other) const {
  if (vocabulary_ == nullptr || other.vocabulary_ == nullptr) return vocabulary_ == other.vocabulary_;
  return *vocabulary_ == *other.vocabulary_;
}

Result<GptModel> make_gpt(const v1::GptModel& wanted, size_t vocabulary_size) {
  GptConfig config;
  const bool is_llama = wanted.style() == v1::GptModel::LLAMA;
  config.style = is_llama ? GptConfig::Style::kLlama : GptConfig::Style::kGpt2;
  config.compute = compute_of(wanted.compute());
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
                                    const GptModel& model, const TrainedWeights& weights, v1::CheckpointInfo checkpoint,
                                    const std::string& name) {
  ASSIGN_OR_RETURN(auto writer, ArtifactWriter::create(output_dir, name, "model"));
  RETURN_IF_ERROR(writer.add_file(
      kConfig, write_gpt_config({model.config(), tokenizer.vocabulary() != nullptr, tokenizer.get().end_of_text()})));
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
  auto parsed = parse_gpt_config(json).with_context((directory / kConfig).string());
  RETURN_IF_ERROR(parsed.status());
  const GptConfig& config = parsed->config;
  std::optional<Bpe> vocabulary;
  if (parsed->has_vocabulary) {
    ASSIGN_OR_RETURN(vocabulary, read_bpe(directory));
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
