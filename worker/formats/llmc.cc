#include "worker/formats/llmc.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/file.h"
#include "kernels/bfloat16.h"
#include "worker/formats/hugging_face.h"

namespace freshet::worker {
namespace {

constexpr int32_t kMagic = 20240326;
constexpr int32_t kFloat32Version = 3, kBfloat16Version = 5;
constexpr size_t kVocabularyMultiple = 128;
constexpr float kEpsilon = 1e-5F;
// Beyond any model: what a damaged header claims is not laid out.
constexpr int32_t kLayersMax = 1 << 12, kNumberMax = 1 << 24;

using Header = std::array<int32_t, 256>;

// The file's tensors in its order. Of each layer where there is a number of one to be put in.
struct Kind {
  const char* before;
  const char* after;  // null: not of a layer
  bool is_product;    // [inputs][outputs] with us
};
constexpr Kind kKinds[] = {
    {"transformer.wte.weight", nullptr, false},      {"transformer.wpe.weight", nullptr, false},
    {"transformer.h.", ".ln_1.weight", false},       {"transformer.h.", ".ln_1.bias", false},
    {"transformer.h.", ".attn.c_attn.weight", true}, {"transformer.h.", ".attn.c_attn.bias", false},
    {"transformer.h.", ".attn.c_proj.weight", true}, {"transformer.h.", ".attn.c_proj.bias", false},
    {"transformer.h.", ".ln_2.weight", false},       {"transformer.h.", ".ln_2.bias", false},
    {"transformer.h.", ".mlp.c_fc.weight", true},    {"transformer.h.", ".mlp.c_fc.bias", false},
    {"transformer.h.", ".mlp.c_proj.weight", true},  {"transformer.h.", ".mlp.c_proj.bias", false},
    {"transformer.ln_f.weight", nullptr, false},     {"transformer.ln_f.bias", nullptr, false}};

size_t padded(size_t vocabulary) {
  return (vocabulary + kVocabularyMultiple - 1) / kVocabularyMultiple * kVocabularyMultiple;
}

// Calls visit(index in the flat parameters) for every number of the file in its order; SIZE_MAX for one that fills the
// vocabulary up.
template <class Visit>
void for_each_number(const GptModel& model, Visit visit) {
  const auto& tensors = model.tensors();
  for (const Kind& kind : kKinds) {
    const uint32_t count = kind.after == nullptr ? 1 : model.config().layers;
    for (uint32_t layer = 0; layer < count; ++layer) {
      const std::string name = kind.after == nullptr ? kind.before : kind.before + std::to_string(layer) + kind.after;
      auto tensor = std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == name; });
      CHECK(tensor != tensors.end());
      if (kind.is_product) {
        const size_t inputs = tensor->shape[0], outputs = tensor->shape[1];
        for (size_t o = 0; o < outputs; ++o) {
          for (size_t i = 0; i < inputs; ++i) visit(tensor->offset + i * outputs + o);
        }
        continue;
      }
      for (size_t i = 0; i < tensor->size; ++i) visit(tensor->offset + i);
      if (tensor->offset != model.layout().token_embedding) continue;
      const size_t filled = (padded(model.config().vocabulary) - model.config().vocabulary) * model.config().width;
      for (size_t i = 0; i < filled; ++i) visit(SIZE_MAX);
    }
  }
}

Status bad(const std::filesystem::path& file, const std::string& what) {
  return corrupt(file.string() + " is not a model of llm.c: " + what);
}

Result<GptConfig> config_of(const Header& header, const std::filesystem::path& file) {
  for (size_t i = 2; i < 8; ++i) {
    const int32_t most = i == 4 ? kLayersMax : kNumberMax;
    if (header[i] <= 0 || header[i] > most) return bad(file, "its header holds " + std::to_string(header[i]));
  }
  GptConfig config;
  config.context = static_cast<uint32_t>(header[2]);
  config.vocabulary = static_cast<uint32_t>(header[3]);
  config.layers = static_cast<uint32_t>(header[4]);
  config.heads = config.kv_heads = static_cast<uint32_t>(header[5]);
  config.width = static_cast<uint32_t>(header[6]);
  config.feed_forward = 4 * config.width;
  config.epsilon = kEpsilon;
  if (static_cast<size_t>(header[7]) != padded(config.vocabulary)) {
    return bad(file, "its vocabulary of " + std::to_string(header[3]) + " is filled up to " +
                         std::to_string(header[7]) + ", not to " + std::to_string(padded(config.vocabulary)));
  }
  return config;
}

}  // namespace

Result<GptArtifact> read_llmc(const std::filesystem::path& file, const std::string& tokenizer) {
  ASSIGN_OR_RETURN(std::string bytes, read_file(file));
  Header header{};
  if (bytes.size() < sizeof header) return bad(file, "it has " + std::to_string(bytes.size()) + " bytes");
  std::memcpy(header.data(), bytes.data(), sizeof header);
  if (header[0] != kMagic) return bad(file, "it begins with " + std::to_string(header[0]));
  if (header[1] != kFloat32Version && header[1] != kBfloat16Version) {
    return invalid_argument(file.string() + " is of version " + std::to_string(header[1]) +
                            "; write it anew with a llm.c of today, which makes 3 (float32) or 5 (bfloat16)");
  }
  ASSIGN_OR_RETURN(GptConfig config, config_of(header, file));
  ASSIGN_OR_RETURN(GptModel model, GptModel::create(config));
  const bool is_rounded = header[1] == kBfloat16Version;
  const size_t filled = (padded(config.vocabulary) - config.vocabulary) * size_t{config.width};
  const size_t expected = sizeof header + (model.parameters() + filled) * (is_rounded ? 2 : 4);
  if (bytes.size() != expected) {
    return bad(file, "it has " + std::to_string(bytes.size()) + " bytes, " + std::to_string(expected) + " expected");
  }
  ASSIGN_OR_RETURN(GptTokenizer opened, open_gpt_tokenizer(tokenizer, config.vocabulary));
  std::vector<float> parameters(model.parameters());
  const char* at = bytes.data() + sizeof header;
  for_each_number(model, [&](size_t index) {
    float value = 0;
    uint16_t rounded = 0;
    if (is_rounded) {
      std::memcpy(&rounded, at, sizeof rounded);
      value = kernels::to_float(rounded);
      at += sizeof rounded;
    } else {
      std::memcpy(&value, at, sizeof value);
      at += sizeof value;
    }
    if (index != SIZE_MAX) parameters[index] = value;
  });
  return GptArtifact{std::move(opened), std::move(model), std::move(parameters), {}};
}

Status write_llmc(const std::filesystem::path& file, const GptModel& model, const std::vector<float>& parameters,
                  LlmcNumbers numbers) {
  const GptConfig& config = model.config();
  if (config.style != GptConfig::Style::kGpt2) {
    return invalid_argument("llm.c's files hold models of the GPT-2 style; this one is of the Llama style");
  }
  if (config.feed_forward != 4 * config.width) {
    return invalid_argument("llm.c's models have a feed-forward part of four times the width, not " +
                            std::to_string(config.feed_forward));
  }
  if (config.epsilon != kEpsilon) return invalid_argument("llm.c's models have an epsilon of 1e-5");
  const bool is_rounded = numbers == LlmcNumbers::kBfloat16;
  Header header{};
  const size_t numbers_of_header[] = {
      kMagic,         static_cast<size_t>(is_rounded ? kBfloat16Version : kFloat32Version),
      config.context, config.vocabulary,
      config.layers,  config.heads,
      config.width,   padded(config.vocabulary)};
  std::transform(std::begin(numbers_of_header), std::end(numbers_of_header), header.begin(),
                 [](size_t number) { return static_cast<int32_t>(number); });
  std::string bytes(reinterpret_cast<const char*>(header.data()), sizeof header);
  for_each_number(model, [&](size_t index) {
    const float value = index == SIZE_MAX ? 0.0F : parameters[index];
    const kernels::Bfloat16 rounded = kernels::to_bfloat16(value);
    bytes.append(is_rounded ? reinterpret_cast<const char*>(&rounded) : reinterpret_cast<const char*>(&value),
                 is_rounded ? sizeof rounded : sizeof value);
  });
  return write_file_durably(file, bytes);
}

}  // namespace freshet::worker
