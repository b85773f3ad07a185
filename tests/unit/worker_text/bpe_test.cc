// Byte-pair encoding: GPT-2's own vocabulary with tokens recorded from Hugging Face's tokenizers 0.22, and training.
#include "worker/text/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "tests/paths.h"
#include "worker/text/bpe_training.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<Token> encode(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<Token> tokens;
  tokenizer.encode(text, &tokens);
  return tokens;
}

class Gpt2Test : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto read = read_tokenizer(FRESHET_DATA_DIR "/gpt2");
    ASSERT_TRUE(read.is_ok()) << read.status().message() << "; scripts/setup fetches it";
    tokenizer_ = std::move(*read);
  }
  static void TearDownTestSuite() { tokenizer_.reset(); }

  static inline std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(Gpt2Test, HasTheTokensOfTheOriginal) {
  const std::vector<std::pair<std::string, std::vector<Token>>> recorded = {
      {"Hello world", {15496, 995}},
      {"  two  spaces and a tab\tend ", {220, 734, 220, 9029, 290, 257, 7400, 197, 437, 220}},
      {"We'll say it's theirs, don't we'd?", {1135, 1183, 910, 340, 338, 22021, 11, 836, 470, 356, 1549, 30}},
      {"\n\nnew\r\n\r\nlines \n", {198, 198, 3605, 201, 198, 201, 198, 6615, 220, 198}},
      {"1789 and 12345678", {1558, 4531, 290, 17031, 2231, 30924}},
      {"naïve façade 漢字 🙂", {2616, 38776, 24685, 16175, 671, 10545, 120, 95, 27764, 245, 32485}},
      {"x\u00a0y\u3000z\u200b.", {87, 1849, 88, 5099, 222, 89, 9525, 13}},
      {"'same 'Tis", {338, 480, 705, 51, 271}},
      {std::string(40, 'a'), std::vector<Token>(10, 24794)},
      {"<|endoftext|>", {27, 91, 437, 1659, 5239, 91, 29}},
      {"٧½Ⅷ", {149, 100, 23141, 158, 227, 100}},
  };
  for (const auto& [text, tokens] : recorded) {
    EXPECT_EQ(encode(*tokenizer_, text), tokens) << text;
    EXPECT_EQ(tokenizer_->decode(tokens).value(), text);
  }
  EXPECT_EQ(tokenizer_->vocabulary_size(), 50257u);
  EXPECT_EQ(tokenizer_->end_of_text(), 50256u);
}

TEST_F(Gpt2Test, AWordThatOccursAgainHasTheSameTokens) {
  EXPECT_THAT(encode(*tokenizer_, " spaces spaces"), ElementsAre(9029, 9029));
}

TEST_F(Gpt2Test, AnyBytesComeBack) {
  SeededRandom random(3);
  std::string bytes;
  for (int i = 0; i < 5000; ++i) bytes += static_cast<char>(random.next() % 256);
  EXPECT_EQ(tokenizer_->decode(encode(*tokenizer_, bytes)).value(), bytes);
  auto refused = tokenizer_->decode(std::vector<Token>{50257});
  EXPECT_EQ(refused.status().code(), Code::kInvalidArgument);
}

TEST(ByteTokenizer, AnyBytesComeBack) {
  auto tokenizer = byte_tokenizer();
  const std::string text =
      "a\0\xff"
      "é";
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, text)).value(), text);
  EXPECT_EQ(encode(*tokenizer, "a\xff"), (std::vector<Token>{97, 255}));
  EXPECT_EQ(tokenizer->vocabulary_size(), 257u);
  EXPECT_FALSE(tokenizer->decode(std::vector<Token>{257}).is_ok());
}

TEST(BpeTraining, MergesWhatOccursMostOften) {
  // "ab" stands there 5 times, then " " + "ab" 4 times, then " ab" + "c" and " ab" + "d" twice each.
  BpeTraining training;
  training.add("abc abc abc abd abd bc");
  Bpe bpe = training.train(400).value();
  EXPECT_EQ(bpe.vocab_bpe(), "#version: 0.2\na b\nĠ ab\nĠab c\nĠab d\n");
  EXPECT_EQ(encode(bpe, " abc").size(), 1u);
  EXPECT_EQ(encode(bpe, " bc").size(), 3u);  // once is not often enough
  EXPECT_EQ(bpe.end_of_text(), bpe.vocabulary_size() - 1);
}

TEST(BpeTraining, StopsAtTheSizeAskedFor) {
  BpeTraining training;
  training.add("abab abab");
  EXPECT_EQ(training.train(258).value().vocabulary_size(), 258u);
  EXPECT_EQ(training.train(257).value().vocabulary_size(), 257u);
  EXPECT_FALSE(training.train(256).is_ok());
  EXPECT_FALSE(BpeTraining().train(300).is_ok());
}

TEST(BpeTraining, TheOrderOfTheTextDoesNotMatter) {
  BpeTraining forward, backward;
  std::vector<std::string> lines;
  SeededRandom random(5);
  for (int i = 0; i < 200; ++i) {
    std::string line = "\n";
    for (uint64_t k = 2 + random.next() % 9; k > 0; --k) line += static_cast<char>('a' + random.next() % 4);
    lines.push_back(line);
  }
  for (const auto& line : lines) forward.add(line);
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) backward.add(*line);
  EXPECT_EQ(forward.train(300).value().vocab_bpe(), backward.train(300).value().vocab_bpe());
}

// The definition, slowly: count all neighbours anew for each merge.
TEST(BpeTraining, AgreesWithTheDefinition) {
  SeededRandom random(7);
  std::vector<std::string> words;
  for (int i = 0; i < 60; ++i) {
    std::string word;
    for (uint64_t k = 1 + random.next() % 12; k > 0; --k) word += static_cast<char>('a' + random.next() % 3);
    words.push_back(word);
  }
  BpeTraining training;
  for (const auto& word : words) training.add(word);
  const Bpe bpe = training.train(256 + 40 + 1).value();

  std::vector<std::vector<std::string>> parts;
  for (const auto& word : words) {
    parts.emplace_back();
    for (char c : word) parts.back().emplace_back(1, c);
  }
  std::map<std::string, size_t> age = {{"a", 0}, {"b", 1}, {"c", 2}};  // the order of the letters' tokens
  std::string expected = "#version: 0.2\n";
  for (int merge = 0; merge < 40; ++merge) {
    std::map<std::pair<std::string, std::string>, int> count;
    for (const auto& word : parts) {
      for (size_t i = 0; i + 1 < word.size(); ++i) ++count[{word[i], word[i + 1]}];
    }
    auto is_better = [&](const auto& a, const auto& b) {
      if (a.second != b.second) return a.second > b.second;
      return std::pair(age[a.first.first], age[a.first.second]) < std::pair(age[b.first.first], age[b.first.second]);
    };
    auto best = count.begin();
    for (auto each = count.begin(); each != count.end(); ++each) {
      if (is_better(*each, *best)) best = each;
    }
    if (best->second < 2) break;
    const auto [left, right] = best->first;
    expected += left + " " + right + "\n";
    age[left + right] = 3 + static_cast<size_t>(merge);
    for (auto& word : parts) {
      for (size_t i = 0; i + 1 < word.size(); ++i) {
        if (word[i] != left || word[i + 1] != right) continue;
        word[i] += right;
        word.erase(word.begin() + static_cast<ptrdiff_t>(i) + 1);
      }
    }
  }
  EXPECT_EQ(bpe.vocab_bpe(), expected);
}

TEST(Bpe, OfEqualPairsTheLeftmostIsMerged) {
  const Bpe bpe = Bpe::of({{0, 0}});  // "!" and "!"
  EXPECT_THAT(encode(bpe, "!!!!!"), ElementsAre(256, 256, 0));
}

TEST(Bpe, ItsFilesReadBackAreTheSame) {
  BpeTraining training;
  training.add("the cat and the hat and the \xff bat that sat\n\nthat sat");
  const Bpe bpe = training.train(290).value();
  const Bpe again = Bpe::parse(bpe.encoder_json(), bpe.vocab_bpe()).value();
  EXPECT_EQ(again.encoder_json(), bpe.encoder_json());
  EXPECT_EQ(again.vocab_bpe(), bpe.vocab_bpe());
  EXPECT_EQ(encode(again, "that cat sat"), encode(bpe, "that cat sat"));
}

TEST(Bpe, EqualOnesHaveTheSameMergesInTheSameOrder) {
  EXPECT_TRUE(Bpe::of({{0, 1}, {2, 3}}) == Bpe::of({{0, 1}, {2, 3}}));
  EXPECT_FALSE(Bpe::of({{0, 1}, {2, 3}}) == Bpe::of({{2, 3}, {0, 1}}));
  EXPECT_FALSE(Bpe::of({{0, 1}}) == Bpe::of({}));
}

TEST(Bpe, RefusesFilesThatDoNotFit) {
  const Bpe bytes = Bpe::of({});
  const std::string vocabulary = bytes.encoder_json();
  auto refusal = [](std::string_view json, std::string_view merges) {
    return std::string(Bpe::parse(json, merges).status().message());
  };
  EXPECT_THAT(refusal("{", ""), HasSubstr("not JSON"));
  EXPECT_THAT(refusal("[]", ""), HasSubstr("not a JSON object"));
  EXPECT_THAT(refusal(R"({"a": 0, "b": 0})", ""), HasSubstr("each once"));
  EXPECT_THAT(refusal(R"({"a": 1})", ""), HasSubstr("the number 1"));
  EXPECT_THAT(refusal(R"({"a": 0})", ""), HasSubstr("no <|endoftext|>"));
  EXPECT_THAT(refusal(R"({"a": 0, "<|endoftext|>": 1})", ""), HasSubstr("no token for the byte 0"));
  EXPECT_THAT(refusal(R"({" ": 0, "<|endoftext|>": 1})", ""), HasSubstr("stands for no byte"));
  EXPECT_THAT(refusal(vocabulary, "#version: 0.2\na b\n"), HasSubstr("line 2 of the merges: what it makes"));
  EXPECT_THAT(refusal(vocabulary, "ab\n"), HasSubstr("expected two tokens"));
  EXPECT_THAT(refusal(vocabulary, "a bb\n"), HasSubstr("'bb' is not in the vocabulary"));
}

TEST(Bpe, ALongWordTakesNoLongTime) {
  BpeTraining training;
  training.add(std::string(4096, 'a') + " b b");
  const Bpe bpe = training.train(280).value();
  EXPECT_EQ(bpe.decode(encode(bpe, std::string(1 << 20, 'a'))).value(), std::string(1 << 20, 'a'));
}

}  // namespace
}  // namespace freshet::worker
