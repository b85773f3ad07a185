#include "worker/formats/llmc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "base/file.h"
#include "kernels/bfloat16.h"
#include "tests/unit/worker/temp_dir.h"

namespace freshet::worker {
namespace {

using testing::HasSubstr;

class Llmc : public testing::Test {
 protected:
  static GptConfig config() {
    GptConfig config;
    config.layers = 2;
    config.heads = config.kv_heads = 2;
    config.width = 8;
    config.feed_forward = 32;
    config.context = 4;
    config.vocabulary = 257;
    return config;
  }
  Llmc() {
    parameters_.resize(model_.parameters());
    model_.initialise(5, parameters_.data());
    for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i] += 0.001F * static_cast<float>(i % 7);
  }
  std::string written(LlmcNumbers numbers) {
    Status status = write_llmc(file_, model_, parameters_, numbers);
    EXPECT_TRUE(status.is_ok()) << status.to_string();
    return read_file(file_).value();
  }
  Status read_changed(const std::string& bytes) {
    std::ofstream(file_, std::ios::binary) << bytes;
    return read_llmc(file_, "bytes").status();
  }
  size_t offset(const std::string& name) const {
    for (const auto& tensor : model_.tensors()) {
      if (tensor.name == name) return tensor.offset;
    }
    return SIZE_MAX;
  }

  TempDir dir_;
  std::filesystem::path file_ = dir_.path() / "model.bin";
  GptModel model_ = GptModel::create(config()).value();
  std::vector<float> parameters_;
};

// Counted by hand from llm.c's layout: 384 rows of embedding, 4 of positions, the norms, then [24][8] of each layer.
TEST_F(Llmc, HasTheLayoutOfLlmc) {
  const std::string bytes = written(LlmcNumbers::kFloat32);
  int32_t header[8];
  std::memcpy(header, bytes.data(), sizeof header);
  EXPECT_THAT(header, testing::ElementsAre(20240326, 3, 4, 257, 2, 2, 8, 384));
  auto number = [&](size_t index) {
    float value = 0;
    std::memcpy(&value, bytes.data() + 1024 + index * sizeof value, sizeof value);
    return value;
  };
  EXPECT_EQ(number(256 * 8 + 3), parameters_[offset("transformer.wte.weight") + 256 * 8 + 3]);
  for (size_t i = 257 * 8; i < 384 * 8; ++i) EXPECT_EQ(number(i), 0) << i;
  EXPECT_EQ(number(384 * 8 + 5), parameters_[offset("transformer.wpe.weight") + 5]);
  const size_t qkv = (384 + 4) * 8 + 2 * 8 + 2 * 8;
  EXPECT_EQ(number(qkv + 24 * 8 + 3 * 8 + 2), parameters_[offset("transformer.h.1.attn.c_attn.weight") + 2 * 24 + 3]);
  EXPECT_EQ(number((bytes.size() - 1024) / 4 - 1), parameters_[offset("transformer.ln_f.bias") + 7]);
}

TEST_F(Llmc, Float32ComesBackBitForBit) {
  written(LlmcNumbers::kFloat32);
  auto read = read_llmc(file_, "bytes");
  ASSERT_TRUE(read.is_ok()) << read.status().to_string();
  EXPECT_EQ(read->parameters, parameters_);
  EXPECT_EQ(read->model.config().feed_forward, 32U);
}

TEST_F(Llmc, Bfloat16ComesBackRounded) {
  const std::string bytes = written(LlmcNumbers::kBfloat16);
  EXPECT_EQ(bytes.size(), 1024 + 2 * (parameters_.size() + 127 * 8));
  auto read = read_llmc(file_, "bytes");
  ASSERT_TRUE(read.is_ok()) << read.status().to_string();
  for (size_t i = 0; i < parameters_.size(); ++i) {
    ASSERT_EQ(read->parameters[i], kernels::to_float(kernels::to_bfloat16(parameters_[i]))) << i;
  }
  const auto once = read->parameters;
  ASSERT_TRUE(write_llmc(file_, read->model, once, LlmcNumbers::kBfloat16).is_ok());
  EXPECT_EQ(read_file(file_).value(), bytes);
}

TEST_F(Llmc, FilesThatAreNoModelsAreRefused) {
  const std::string good = written(LlmcNumbers::kFloat32);
  auto with = [&](size_t at, int32_t number) {
    std::string changed = good;
    std::memcpy(changed.data() + 4 * at, &number, sizeof number);
    return changed;
  };
  EXPECT_TRUE(read_changed(good).is_ok());
  EXPECT_THAT(read_changed(good.substr(0, 1000)).message(), HasSubstr("it has 1000 bytes"));
  EXPECT_THAT(read_changed(good.substr(0, good.size() - 1)).message(), HasSubstr("expected"));
  EXPECT_THAT(read_changed(good + "x").message(), HasSubstr("expected"));
  EXPECT_THAT(read_changed(with(0, 20240520)).message(), HasSubstr("begins with 20240520"));
  EXPECT_THAT(read_changed(with(1, 1)).message(), HasSubstr("version 1"));
  EXPECT_THAT(read_changed(with(4, 0)).message(), HasSubstr("its header holds 0"));
  EXPECT_THAT(read_changed(with(4, INT32_MAX)).message(), HasSubstr("its header holds"));
  EXPECT_THAT(read_changed(with(6, 16)).message(), HasSubstr("expected"));
  EXPECT_THAT(read_changed(with(7, 257)).message(), HasSubstr("not to 384"));
  EXPECT_EQ(read_llmc(dir_.path() / "none", "bytes").status().code(), Code::kNotFound);
}

TEST_F(Llmc, OtherModelsHaveNoRoomInTheFormat) {
  GptConfig narrow = config();
  narrow.feed_forward = 16;
  GptConfig llama = config();
  llama.style = GptConfig::Style::kLlama;
  for (const GptConfig& other : {narrow, llama}) {
    GptModel model = GptModel::create(other).value();
    const std::vector<float> parameters(model.parameters());
    EXPECT_EQ(write_llmc(file_, model, parameters, LlmcNumbers::kFloat32).code(), Code::kInvalidArgument);
  }
}

}  // namespace
}  // namespace freshet::worker
