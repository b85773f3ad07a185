#include "worker/formats/hugging_face.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstring>
#include <set>
#include <utility>

#include "base/file.h"
#include "kernels/bfloat16.h"
#include "worker/checkpoint/gpt_config_json.h"
#include "worker/checkpoint/manifest.h"
#include "worker/checkpoint/safetensors.h"

namespace freshet::worker {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig = "config.json";
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kHead = "lm_head.weight";

// IEEE 754 half precision; every one is a float.
float half_to_float(uint16_t half) {
  const uint32_t sign = uint32_t{half} >> 15 << 31, exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 0) {
    const float small = static_cast<float>(fraction) * 0x1p-24F;
    return sign == 0 ? small : -small;
  }
  const uint32_t wide = exponent == 31 ? 255 : exponent - 15 + 127;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

// `bytes` as floats; its size has been checked against the shape.
Status convert(const HeaderTensor& tensor, std::string_view bytes, float* values) {
  const bool is_half = tensor.dtype == "F16";
  if (tensor.dtype == "F32") {
    std::memcpy(values, bytes.data(), bytes.size());
    return Status::ok();
  }
  if (!is_half && tensor.dtype != "BF16") {
    return invalid_argument("tensor " + tensor.name + " has dtype " + tensor.dtype + "; save it as F32, F16 or BF16");
  }
  for (size_t i = 0; i < bytes.size() / 2; ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + 2 * i, 2);
    values[i] = is_half ? half_to_float(bits) : kernels::to_float(bits);
  }
  return Status::ok();
}

// Files of weights, in the order of their names.
Result<std::set<std::string>> files_of(const fs::path& directory) {
  auto index = read_file(directory / kIndex);
  if (index.status().code() == Code::kNotFound) return std::set<std::string>{kWeights};
  RETURN_IF_ERROR(index.status());
  std::set<std::string> names;
  try {
    const boost::json::value root = boost::json::parse(*index);
    for (const auto& [tensor, file] : root.at("weight_map").as_object()) {
      names.emplace(file.as_string());
    }
  } catch (const std::exception& error) {
    return corrupt((directory / kIndex).string() + ": " + error.what());
  }
  for (const auto& name : names) {
    if (!is_file_name(name)) return corrupt((directory / kIndex).string() + " names the file " + name);
  }
  return names;
}

// Masks and frequencies, which older files hold and which follow from the configuration.
bool is_buffer(const std::string& name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") || name.ends_with("rotary_emb.inv_freq");
}

// Fills the flat parameters from files, a tensor at a time.
class Arrival {
 public:
  Arrival(const GptModel& model, float* parameters) : model_(model), parameters_(parameters) {
    prefix_ = model.config().style == GptConfig::Style::kGpt2 ? "transformer." : "model.";
  }

  Status add(const HeaderTensor& tensor, std::string_view bytes) {
    if (is_buffer(tensor.name)) return Status::ok();
    const TensorView* place = place_of(tensor.name);
    if (place == nullptr && tensor.name == kHead) return compare_head(tensor, bytes);
    if (place == nullptr) return invalid_argument("our model has no tensor " + tensor.name);
    if (tensor.shape != place->shape) {
      return corrupt("the tensor " + tensor.name + " has the shape " + shape_text(tensor.shape) + ", not " +
                     shape_text(place->shape));
    }
    if (!arrived_.insert(place->name).second) return corrupt("the tensor " + place->name + " is there twice");
    return convert(tensor, bytes, parameters_ + place->offset);
  }

  // The output matrix of a tied model is the embedding: a file that holds both must hold the same twice.
  Status finish() const {
    for (const auto& tensor : model_.tensors()) {
      if (!arrived_.contains(tensor.name)) return corrupt("the weights lack the tensor " + tensor.name);
    }
    const float* embedding = parameters_ + model_.layout().token_embedding;
    if (!head_.empty() && std::memcmp(head_.data(), embedding, head_.size() * sizeof(float)) != 0) {
      return invalid_argument("lm_head.weight differs from the embedding, to which the configuration ties it");
    }
    return Status::ok();
  }

 private:
  const TensorView* place_of(const std::string& name) const {
    for (const auto& tensor : model_.tensors()) {
      if (tensor.name == name || (tensor.name.starts_with(prefix_) && tensor.name.substr(prefix_.size()) == name)) {
        return &tensor;
      }
    }
    return nullptr;
  }

  Status compare_head(const HeaderTensor& tensor, std::string_view bytes) {
    if (tensor.shape != std::vector<uint64_t>{model_.config().vocabulary, model_.config().width}) {
      return corrupt("lm_head.weight has the shape " + shape_text(tensor.shape));
    }
    head_.resize(tensor.shape[0] * tensor.shape[1]);
    return convert(tensor, bytes, head_.data());
  }

  const GptModel& model_;
  float* const parameters_;
  std::string prefix_;
  std::set<std::string> arrived_;
  std::vector<float> head_;
};

}  // namespace

Result<GptTokenizer> open_gpt_tokenizer(const std::string& name, size_t tokens) {
  std::optional<Bpe> vocabulary;
  if (name != "bytes") {
    ASSIGN_OR_RETURN(vocabulary, read_bpe(name));
  }
  GptTokenizer tokenizer(std::move(vocabulary));
  if (tokenizer.get().vocabulary_size() == tokens) return tokenizer;
  return invalid_argument("the model has " + std::to_string(tokens) + " tokens and the tokenizer " + name + " " +
                          std::to_string(tokenizer.get().vocabulary_size()) + ": name the right one with --tokenizer");
}

Result<GptArtifact> read_hugging_face(const fs::path& directory, const std::string& tokenizer) {
  ASSIGN_OR_RETURN(std::string json, read_file(directory / kConfig));
  auto parsed = parse_gpt_config(json).with_context((directory / kConfig).string());
  RETURN_IF_ERROR(parsed.status());
  ASSIGN_OR_RETURN(GptModel model, GptModel::create(parsed->config));
  ASSIGN_OR_RETURN(GptTokenizer opened,
                   open_gpt_tokenizer(tokenizer.empty() ? directory.string() : tokenizer, parsed->config.vocabulary));
  std::vector<float> parameters(model.parameters());
  Arrival arrival(model, parameters.data());
  ASSIGN_OR_RETURN(auto files, files_of(directory));
  for (const auto& name : files) {
    const fs::path path = directory / name;
    ASSIGN_OR_RETURN(std::string bytes, read_file(path));
    auto parts = check_safetensors(bytes).with_context(path.string());
    RETURN_IF_ERROR(parts.status());
    for (const auto& tensor : parts->tensors) {
      Status added = arrival.add(tensor, parts->data.substr(tensor.begin, tensor.end - tensor.begin));
      if (!added.is_ok()) return added.with_context(path.string());
    }
  }
  RETURN_IF_ERROR(arrival.finish().with_context(directory.string()));
  return GptArtifact{std::move(opened), std::move(model), std::move(parameters), {}};
}

}  // namespace freshet::worker
