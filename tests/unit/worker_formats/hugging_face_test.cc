// Models that transformers saved (tests/data/hugging_face/record.py) give the logits that it gave.
#include "worker/formats/hugging_face.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/file.h"
#include "tests/paths.h"
#include "tests/unit/worker/temp_dir.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/safetensors_header.h"

namespace freshet::worker {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// tests/integration/formats_test.py names others, made by the transformers that is installed.
fs::path recorded() {
  const char* other = std::getenv("FRESHET_HUGGING_FACE_DATA");
  return other == nullptr ? fs::path(FRESHET_TEST_DATA) / "hugging_face" : fs::path(other);
}

std::vector<float> logits_of(const GptArtifact& artifact, const std::vector<int32_t>& tokens) {
  ThreadPool pool(2);
  GptModel::Workspace workspace(artifact.model, tokens.size(), false);
  GptBatch batch;
  batch.sequences = 1;
  batch.length = tokens.size();
  batch.tokens = tokens.data();
  std::vector<float> logits(artifact.model.config().vocabulary);
  Status status =
      artifact.model.next_token_logits(batch, {artifact.parameters.data(), nullptr}, logits.data(), &pool, &workspace);
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  return logits;
}

class RecordedModel : public testing::TestWithParam<const char*> {};

TEST_P(RecordedModel, GivesTheLogitsOfTransformers) {
  const fs::path directory = recorded() / GetParam();
  auto artifact = read_hugging_face(directory, "bytes");
  ASSERT_TRUE(artifact.is_ok()) << artifact.status().to_string();
  auto text = read_file(directory / "logits.json");
  ASSERT_TRUE(text.is_ok());
  const boost::json::value root = boost::json::parse(*text);
  std::vector<int32_t> tokens;
  for (const auto& token : root.at("tokens").as_array()) tokens.push_back(token.to_number<int32_t>());
  const auto logits = logits_of(*artifact, tokens);
  const auto& expected = root.at("logits").as_array();
  ASSERT_EQ(expected.size(), logits.size());
  double largest = 0, apart = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const auto wanted = expected[i].to_number<double>();
    largest = std::max(largest, std::abs(wanted));
    apart = std::max(apart, std::abs(wanted - static_cast<double>(logits[i])));
  }
  EXPECT_GT(largest, 1);
  EXPECT_LE(apart, 1e-4 * largest);
}

INSTANTIATE_TEST_SUITE_P(Transformers, RecordedModel,
                         testing::Values("gpt2", "gpt2_body", "llama_shards_bf16", "llama_tied_f16"),
                         [](const auto& test) { return std::string(test.param); });

class HuggingFace : public testing::Test {
 protected:
  HuggingFace() {
    fs::copy(fs::path(FRESHET_TEST_DATA) / "hugging_face" / "gpt2", directory_);
    auto bytes = read_file(directory_ / "model.safetensors");
    EXPECT_TRUE(bytes.is_ok());
    auto parsed = parse_safetensors(*bytes);
    EXPECT_TRUE(parsed.is_ok());
    file_ = *std::move(parsed);
  }
  Status read(const std::string& tokenizer = "bytes") {
    write("model.safetensors", write_safetensors(file_.tensors, file_.values.data()));
    return read_hugging_face(directory_, tokenizer).status();
  }
  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(directory_ / name, std::ios::binary) << bytes;
  }
  void edit_config(const std::string& from, const std::string& to) {
    std::string text = read_file(directory_ / "config.json").value();
    ASSERT_NE(text.find(from), std::string::npos) << from;
    write("config.json", text.replace(text.find(from), from.size(), to));
  }
  TensorView& tensor(const std::string& name) {
    for (auto& found : file_.tensors) {
      if (found.name == name) return found;
    }
    std::abort();
  }

  TempDir dir_;
  fs::path directory_ = dir_.path() / "gpt2";
  Safetensors file_;
};

TEST_F(HuggingFace, ArtifactKeepsEveryBit) {
  auto artifact = read_hugging_face(directory_, "bytes");
  ASSERT_TRUE(artifact.is_ok()) << artifact.status().to_string();
  auto saved = save_gpt(dir_.path(), artifact->tokenizer, artifact->model, {artifact->parameters, {}, {}}, {}, "ours");
  ASSERT_TRUE(saved.is_ok()) << saved.status().to_string();
  EXPECT_FALSE(fs::exists(dir_.path() / "ours" / "optimizer.safetensors"));
  auto loaded = load_gpt(dir_.path() / "ours");
  ASSERT_TRUE(loaded.is_ok()) << loaded.status().to_string();
  EXPECT_EQ(loaded->parameters, artifact->parameters);
  // And is again what it was read from: such a directory.
  auto again = read_hugging_face(dir_.path() / "ours", "bytes");
  ASSERT_TRUE(again.is_ok()) << again.status().to_string();
  EXPECT_EQ(again->parameters, artifact->parameters);
}

TEST_F(HuggingFace, BuffersOfOlderFilesArePassedOver) {
  file_.values.resize(file_.values.size() + 4);
  file_.tensors.push_back({"h.0.attn.bias", {1, 1, 2, 2}, file_.values.size() - 4, 4});
  EXPECT_TRUE(read().is_ok()) << read().to_string();
}

TEST_F(HuggingFace, HeadMustBeTheEmbedding) {
  const TensorView embedding = tensor("transformer.wte.weight");
  file_.tensors.push_back({"lm_head.weight", embedding.shape, file_.values.size(), embedding.size});
  for (size_t i = 0; i < embedding.size; ++i) file_.values.push_back(file_.values[embedding.offset + i]);
  EXPECT_TRUE(read().is_ok()) << read().to_string();
  file_.values.back() += 1;
  EXPECT_THAT(read().message(), HasSubstr("lm_head.weight differs"));
}

TEST_F(HuggingFace, TensorsThatDoNotFitAreNamed) {
  const Safetensors good = file_;
  file_.tensors.pop_back();
  EXPECT_EQ(read().code(), Code::kCorrupt) << "the file's data ends early";
  file_ = good;
  tensor("transformer.ln_f.bias").name = "transformer.ln_g.bias";
  EXPECT_THAT(read().message(), HasSubstr("no tensor transformer.ln_g.bias"));
  file_ = good;
  tensor("transformer.ln_f.bias").name = "ln_f.weight";
  EXPECT_THAT(read().message(), HasSubstr("transformer.ln_f.weight is there twice"));
  file_ = good;
  tensor("transformer.ln_f.bias").shape = {4, 4};
  EXPECT_THAT(read().message(), HasSubstr("has the shape [4, 4], not [16]"));
}

TEST_F(HuggingFace, MissingTensorIsNamed) {
  TensorView& last = tensor("transformer.ln_f.bias");
  std::vector<TensorView> others;
  for (const auto& other : file_.tensors) {
    if (other.name != last.name) others.push_back(other);
  }
  file_.tensors = others;
  EXPECT_THAT(read().message(), HasSubstr("lack the tensor transformer.ln_f.bias"));
}

TEST_F(HuggingFace, PartsThatOursLacksAreNamed) {
  const std::string good = read_file(directory_ / "config.json").value();
  const std::vector<std::array<const char*, 3>> edits = {
      {"\"gelu_new\"", "\"relu\"", "activation_function \"relu\""},
      {"\"scale_attn_by_inverse_layer_idx\": false", "\"scale_attn_by_inverse_layer_idx\": true", "inverse_layer_idx"},
      {"\"gpt2\"", "\"bloom\"", "of the type bloom"},
      {"\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", "ties its output"},
      {"\"n_head\": 2", "\"n_head\": 3", "no multiple of heads"},
      {"\"n_head\": 2", "\"n_head\": \"2\"", "config.json"},
      {"\"n_layer\"", "\"layers\"", "config.json"}};
  for (const auto& [from, to, message] : edits) {
    edit_config(from, to);
    EXPECT_THAT(read().message(), HasSubstr(message)) << to;
    write("config.json", good);
  }
}

TEST_F(HuggingFace, TokenizerMustHaveAsManyTokens) {
  fs::copy(fs::path(FRESHET_DATA_DIR) / "gpt2" / "encoder.json", directory_);
  fs::copy(fs::path(FRESHET_DATA_DIR) / "gpt2" / "vocab.bpe", directory_);
  EXPECT_THAT(read("").message(), HasSubstr("257 tokens and the tokenizer"));
  EXPECT_EQ(read((dir_.path() / "none").string()).code(), Code::kNotFound);
}

// Every half is a float: against the compiler's own conversion.
TEST_F(HuggingFace, HalfPrecisionIsReadExactly) {
  const TensorView embedding = tensor("transformer.wte.weight");
  std::vector<HeaderTensor> header;
  std::string data;
  for (const auto& each : file_.tensors) {
    const bool is_half = each.name == embedding.name;
    const size_t begin = data.size();
    if (is_half) {
      for (size_t i = 0; i < each.size; ++i) {
        const auto bits = static_cast<uint16_t>(i * 16);  // 4,112 of them: every exponent, both signs
        data.append(reinterpret_cast<const char*>(&bits), sizeof bits);
      }
    } else {
      data.append(reinterpret_cast<const char*>(file_.values.data() + each.offset), each.size * sizeof(float));
    }
    header.push_back({each.name, is_half ? "F16" : "F32", each.shape, begin, data.size()});
  }
  write("model.safetensors", write_header(header) + data);
  auto artifact = read_hugging_face(directory_, "bytes");
  ASSERT_TRUE(artifact.is_ok()) << artifact.status().to_string();
  for (size_t i = 0; i < embedding.size; ++i) {
    const auto bits = static_cast<uint16_t>(i * 16);
    __extension__ _Float16 half = 0;
    std::memcpy(&half, &bits, sizeof bits);
    const auto expected = static_cast<float>(half);
    const float found = artifact->parameters[artifact->model.layout().token_embedding + i];
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(found)) << bits;
    } else {
      EXPECT_EQ(std::bit_cast<uint32_t>(found), std::bit_cast<uint32_t>(expected)) << bits;
    }
  }
}

}  // namespace
}  // namespace freshet::worker
