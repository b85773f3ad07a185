// freshet-tokens, as it is called: a vocabulary from text, tokens of it, and back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/paths.h"
#include "tests/unit/worker/command.h"
#include "tests/unit/worker/temp_dir.h"

namespace freshet::worker {
namespace {

using testing::HasSubstr;

class TokensProgramTest : public testing::Test {
 protected:
  TokensProgramTest() {
    std::ofstream(dir("a.txt")) << "the cat sat on the mat\n";
    std::ofstream(dir("b.jsonl")) << "{\"text\": \"the dog sat\"}\n{\"text\": \"the end\"}\n";
  }

  std::string dir(const std::string& name) const { return (dir_.path() / name).string(); }
  auto tokens(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), std::string(FRESHET_BINARY_DIR) + "/freshet-tokens");
    return run_command(arguments, dir("log"));
  }

  TempDir dir_;
};

TEST_F(TokensProgramTest, TextComesBackFromItsTokens) {
  auto trained = tokens({"train", "--vocabulary", "260", "--out", dir("v"), dir("a.txt"), dir("b.jsonl")});
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  EXPECT_THAT(trained.output, HasSubstr("260 tokens in "));
  auto encoded = tokens({"encode", "--tokenizer", dir("v"), "--out", dir("t"), dir("a.txt"), dir("b.jsonl")});
  ASSERT_EQ(encoded.exit_code, 0) << encoded.output;
  EXPECT_THAT(encoded.output, HasSubstr("t/tokens_000000.bin\n3 documents, 41 bytes, "));
  auto shown = tokens({"show", "--tokenizer", dir("v"), dir("t/tokens_000000.bin")});
  EXPECT_EQ(shown.output, "<|endoftext|>the cat sat on the mat\n<|endoftext|>the dog sat<|endoftext|>the end\n");
  auto part = tokens({"show", "--tokenizer", dir("v"), "--from", "0", "--count", "1", dir("t/tokens_000000.bin")});
  EXPECT_EQ(part.output, "<|endoftext|>\n");
}

TEST_F(TokensProgramTest, SaysWhatIsWrong) {
  auto none = tokens({"encode", "--tokenizer", dir("none"), "--out", dir("t"), dir("a.txt")});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.output, HasSubstr("freshet-tokens: open " + dir("none")));
  auto small = tokens({"train", "--vocabulary", "10", "--out", dir("v"), dir("a.txt")});
  EXPECT_EQ(small.exit_code, 1);
  EXPECT_THAT(small.output, HasSubstr("at least 257 tokens"));
  EXPECT_THAT(tokens({"--help"}).output, HasSubstr("Examples:"));
}

}  // namespace
}  // namespace freshet::worker
