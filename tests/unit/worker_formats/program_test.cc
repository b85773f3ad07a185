// freshet-model, as it is called: models in, what they are and write, and out again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/file.h"
#include "tests/paths.h"
#include "tests/unit/worker/command.h"
#include "tests/unit/worker/temp_dir.h"

namespace freshet::worker {
namespace {

using testing::HasSubstr;

class ModelProgramTest : public testing::Test {
 protected:
  std::string dir(const std::string& name) const { return (dir_.path() / name).string(); }
  auto model(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), std::string(FRESHET_BINARY_DIR) + "/freshet-model");
    return run_command(arguments, dir("log"));
  }
  std::string weights(const std::string& name) const {
    return read_file(dir_.path() / name / "model.safetensors").value();
  }

  const std::string recorded_ = FRESHET_TEST_DATA "/hugging_face/";
  TempDir dir_;
};

TEST_F(ModelProgramTest, ModelGoesThroughEveryFormat) {
  auto imported = model({"import", "hf", recorded_ + "gpt2_body", dir("a"), "--tokenizer", "bytes"});
  ASSERT_EQ(imported.exit_code, 0) << imported.output;
  EXPECT_THAT(imported.output, HasSubstr("10960 parameters in " + dir("a")));
  auto info = model({"info", dir("a")});
  EXPECT_EQ(info.exit_code, 0) << info.output;
  EXPECT_THAT(info.output, HasSubstr("style           GPT-2"));
  EXPECT_THAT(info.output, HasSubstr("  transformer.h.1.mlp.c_fc.weight [16, 64]"));
  EXPECT_EQ(model({"export", "llmc", dir("a"), dir("a.bin")}).exit_code, 0);
  EXPECT_EQ(model({"import", "llmc", dir("a.bin"), dir("b") + "/", "--tokenizer", "bytes"}).exit_code, 0);
  EXPECT_EQ(weights("b"), weights("a"));
}

TEST_F(ModelProgramTest, SeedDecidesWhatIsWritten) {
  ASSERT_EQ(model({"import", "hf", recorded_ + "llama_shards_bf16", dir("a"), "--tokenizer", "bytes"}).exit_code, 0);
  auto sample = [&](const std::string& seed, const std::string& threads) {
    return model({"sample", dir("a"), "--prompt", "To be", "--tokens", "20", "--seed", seed, "--threads", threads})
        .output;
  };
  const std::string text = sample("1", "1");
  EXPECT_THAT(text, testing::StartsWith("To be"));
  EXPECT_GT(text.size(), 10U);
  EXPECT_EQ(sample("1", "2"), text);
  EXPECT_NE(sample("2", "1"), text);
}

TEST_F(ModelProgramTest, SaysWhatIsWrong) {
  auto none = model({"info", dir("none")});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.output, HasSubstr("freshet-model: open " + dir("none")));
  std::filesystem::create_directory(dir("there"));
  EXPECT_THAT(model({"import", "hf", recorded_ + "gpt2", dir("there"), "--tokenizer", "bytes"}).output,
              HasSubstr("is there already"));
  EXPECT_EQ(model({"import", "llmc", dir("a.bin"), dir("b")}).exit_code, 106) << "no --tokenizer";
  EXPECT_THAT(model({"--help"}).output, HasSubstr("Examples:"));
}

}  // namespace
}  // namespace freshet::worker
