// Documents in pieces: whatever the size of a piece, the text and its tokens are the same.
#include "worker/text/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/unit/worker/temp_dir.h"
#include "worker/text/words.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

class DocumentsTest : public testing::Test {
 protected:
  fs::path file(const std::string& name, const std::string& text) {
    std::ofstream(dir_.path() / name, std::ios::binary) << text;
    return dir_.path() / name;
  }

  // The documents, and their words in `words`.
  std::vector<std::string> documents(const fs::path& path, size_t piece_bytes = kPieceBytes) {
    std::vector<std::string> found;
    words.clear();
    longest = 0;
    auto read = read_documents(
        path,
        [&](std::string_view piece, bool begins) {
          if (begins) found.emplace_back();
          found.back() += piece;
          longest = std::max(longest, piece.size());
          for_each_word(piece, [&](std::string_view word) { words.emplace_back(word); });
          return Status::ok();
        },
        piece_bytes);
    status = read.status();
    if (read.is_ok()) {
      const FileDigest digest = digest_file(path).value();
      EXPECT_EQ(read->sha256, digest.sha256);
      EXPECT_EQ(read->size, digest.size);
    }
    return found;
  }

  std::vector<std::string> words;
  size_t longest = 0;
  Status status;
  TempDir dir_;
};

TEST_F(DocumentsTest, ATextIsOneDocumentInPiecesWithTheSameWords) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "line " + std::to_string(i * i) + (i % 7 == 0 ? "\n\n  \n" : " it's\r\n");
  const fs::path path = file("a.txt", text);
  EXPECT_THAT(documents(path), ElementsAre(text));
  const auto whole = words;
  for (size_t piece : {1u, 3u, 16u, 1000u}) {
    EXPECT_THAT(documents(path, piece), ElementsAre(text)) << piece;
    EXPECT_EQ(words, whole) << piece;
    EXPECT_LT(longest, piece + 32);
  }
}

TEST_F(DocumentsTest, AnEmptyTextIsAnEmptyDocument) {
  EXPECT_THAT(documents(file("a.txt", "")), ElementsAre(""));
  EXPECT_TRUE(status.is_ok());
}

TEST_F(DocumentsTest, EachLineOfJsonHasADocument) {
  const fs::path path =
      file("a.jsonl", "{\"text\": \"one\\ntwo\", \"id\": 1}\n\r\n{\"text\": \"\"}\r\n{\"text\": \"é\"}");
  for (size_t piece : {2u, 4096u}) EXPECT_THAT(documents(path, piece), ElementsAre("one\ntwo", "", "é")) << piece;
  EXPECT_THAT(documents(file("b.jsonl", "")), ElementsAre());
}

TEST_F(DocumentsTest, SaysWhichLineIsWrong) {
  documents(file("a.jsonl", "{\"text\": \"a\"}\n{\"text\": 3}\n"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("a.jsonl line 2 has no string"));
  documents(file("b.jsonl", "{\"text\"\n"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("b.jsonl line 1 is not JSON"));
  documents(dir_.path() / "none.txt");
  EXPECT_EQ(status.code(), Code::kNotFound);
}

TEST_F(DocumentsTest, TheVisitorsErrorEndsIt) {
  int calls = 0;
  auto ended = read_documents(
      file("a.txt", "a b c d e f"),
      [&](std::string_view, bool) { return ++calls == 2 ? cancelled("enough") : Status(); }, 1);
  EXPECT_EQ(ended.status().code(), Code::kCancelled);
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace freshet::worker
