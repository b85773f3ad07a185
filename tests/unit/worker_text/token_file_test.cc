// Files of tokens: the bytes llm.c expects, shards, and what a damaged file says.
#include "worker/text/token_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <numeric>

#include "tests/unit/worker/temp_dir.h"

namespace freshet::worker {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class TokenFileTest : public testing::Test {
 protected:
  std::vector<fs::path> write(const std::vector<Token>& tokens, size_t vocabulary, uint64_t shard) {
    auto writer = TokenWriter::create(dir_.path() / "out", "t", vocabulary, shard);
    EXPECT_TRUE(writer.is_ok()) << writer.status().message();
    // In pieces, so that shards end within them.
    for (size_t i = 0; i < tokens.size(); i += 7) {
      auto piece = std::span(tokens).subspan(i, std::min<size_t>(7, tokens.size() - i));
      EXPECT_TRUE(writer->write(piece).is_ok());
    }
    EXPECT_EQ(writer->tokens_written(), tokens.size());
    return writer->finish().value();
  }

  static std::vector<Token> all(const fs::path& path) {
    auto file = TokenFile::open(path);
    EXPECT_TRUE(file.is_ok()) << file.status().message();
    std::vector<Token> tokens(file->size());
    file->read(0, tokens.size(), tokens.data());
    return tokens;
  }

  TempDir dir_;
};

std::vector<Token> counted(size_t size, Token step) {
  std::vector<Token> tokens(size);
  for (size_t i = 0; i < size; ++i) tokens[i] = static_cast<Token>(i) * step;
  return tokens;
}

TEST_F(TokenFileTest, HasTheBytesThatLlmcReads) {
  auto shards = write({1, 2, 50256}, 50257, 10);
  ASSERT_EQ(shards.size(), 1u);
  EXPECT_EQ(shards[0].filename(), "t_000000.bin");
  const std::string bytes = read_file(shards[0]).value();
  ASSERT_EQ(bytes.size(), 1024u + 6u);
  int32_t header[3];
  std::memcpy(header, bytes.data(), sizeof header);
  EXPECT_EQ(header[0], 20240520);
  EXPECT_EQ(header[1], 1);
  EXPECT_EQ(header[2], 3);
  EXPECT_EQ(bytes.substr(1024), std::string("\x01\x00\x02\x00\x50\xc4", 6));
}

TEST_F(TokenFileTest, ShardsHoldAllTokensInOrder) {
  for (size_t vocabulary : {size_t{65536}, size_t{65537}}) {
    const auto tokens = counted(53, vocabulary == 65536 ? 1200 : 1236);
    std::vector<Token> read;
    for (const auto& shard : write(tokens, vocabulary, 10)) {
      auto part = all(shard);
      read.insert(read.end(), part.begin(), part.end());
    }
    EXPECT_EQ(read, tokens);
    EXPECT_EQ(fs::file_size(dir_.path() / "out" / "t_000000.bin"), 1024u + 10 * (vocabulary == 65536 ? 2 : 4));
  }
  EXPECT_FALSE(fs::exists(dir_.path() / "out" / "t.tmp"));
}

TEST_F(TokenFileTest, ReadsARange) {
  auto shards = write(counted(100, 3), 400, 1000);
  auto file = TokenFile::open(shards[0]).value();
  std::vector<Token> tokens(4);
  file.read(96, 4, tokens.data());
  EXPECT_THAT(tokens, testing::ElementsAre(288, 291, 294, 297));
}

TEST_F(TokenFileTest, AWriterThatIsNotFinishedLeavesNothing) {
  {
    auto writer = TokenWriter::create(dir_.path() / "out", "t", 257, 10).value();
    ASSERT_TRUE(writer.write(std::vector<Token>{1, 2, 3}).is_ok());
  }
  EXPECT_TRUE(fs::is_empty(dir_.path() / "out"));
  EXPECT_FALSE(TokenWriter::create(dir_.path(), "t", 257, 0).is_ok());
}

TEST_F(TokenFileTest, SaysWhatIsWrongWithADamagedFile) {
  auto shards = write(counted(100, 3), 400, 1000);
  auto damaged = [&](const std::function<void(std::string*)>& damage) {
    std::string bytes = read_file(shards[0]).value();
    damage(&bytes);
    const fs::path path = dir_.path() / "damaged.bin";
    std::ofstream(path, std::ios::binary) << bytes;
    Status status = TokenFile::open(path).status();
    EXPECT_EQ(status.code(), Code::kCorrupt);
    return std::string(status.message());
  };
  EXPECT_THAT(damaged([](std::string* bytes) { bytes->resize(100); }), HasSubstr("too short"));
  EXPECT_THAT(damaged([](std::string* bytes) { (*bytes)[0] ^= 1; }), HasSubstr("not a file of tokens"));
  EXPECT_THAT(damaged([](std::string* bytes) { bytes->pop_back(); }), HasSubstr("should hold 100 tokens"));
  EXPECT_THAT(damaged([](std::string* bytes) { *bytes += "xx"; }), HasSubstr("should hold 100 tokens"));
  EXPECT_EQ(TokenFile::open(dir_.path() / "none").status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace freshet::worker
