// Words, as GPT-2's pattern cuts them.
#include "worker/text/words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/random.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> found;
  for_each_word(text, [&](std::string_view word) { found.emplace_back(word); });
  return found;
}

TEST(Words, TakeOneSpaceBeforeThem) {
  EXPECT_THAT(words("so it is 1789!"), ElementsAre("so", " it", " is", " 1789", "!"));
  EXPECT_THAT(words(" a"), ElementsAre(" a"));
  EXPECT_THAT(words("\ta"), ElementsAre("\t", "a"));
}

TEST(Words, ContractionsStandAlone) {
  EXPECT_THAT(words("we'll don't it's I'd"), ElementsAre("we", "'ll", " don", "'t", " it", "'s", " I", "'d"));
  EXPECT_THAT(words("'same 'Tis"), ElementsAre("'s", "ame", " '", "Tis"));
}

TEST(Words, WhiteSpaceLeavesItsLastCharacterToTheNextWord) {
  EXPECT_THAT(words("a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(words("a\n\nb"), ElementsAre("a", "\n", "\n", "b"));
  EXPECT_THAT(words("a \n "), ElementsAre("a", " \n "));
  EXPECT_THAT(words("a\nb"), ElementsAre("a", "\n", "b"));
}

TEST(Words, KnowUnicode) {
  EXPECT_THAT(words("naïve façade 漢字"), ElementsAre("naïve", " façade", " 漢字"));
  EXPECT_THAT(words("٧½Ⅷ x"), ElementsAre("٧½Ⅷ", " x"));
  EXPECT_THAT(words("x\u00a0y\u3000z"), ElementsAre("x", "\u00a0", "y", "\u3000", "z"));
}

TEST(Words, BytesThatAreNoTextAreSigns) {
  EXPECT_THAT(words("a\xff\xfe\x80!b"), ElementsAre("a", "\xff\xfe\x80!", "b"));
  EXPECT_THAT(words("a \xe6"), ElementsAre("a", " \xe6"));
}

// Cut anywhere last_cut() says, the words stay the same.
TEST(Words, ACutKeepsThem) {
  const std::vector<std::string> parts = {"a", "'s", " ", "\n", "7", "!", "é", "\u3000", "\r\n", "\xff", "'"};
  SeededRandom random(11);
  size_t cuts = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (uint64_t length = 2 + random.next() % 30; length > 0; --length) text += parts[random.next() % parts.size()];
    const std::string prefix = text.substr(0, random.next() % text.size() + 1);
    const size_t cut = last_cut(prefix);
    if (cut == 0) continue;
    ++cuts;
    ASSERT_LT(cut, prefix.size());
    auto both = words(text.substr(0, cut)), second = words(text.substr(cut));
    both.insert(both.end(), second.begin(), second.end());
    ASSERT_EQ(both, words(text)) << "cut at " << cut << ": " << testing::PrintToString(text);
  }
  EXPECT_GT(cuts, 1000u);
}

TEST(Words, ThereIsNoCutInOneWord) {
  EXPECT_EQ(last_cut(""), 0u);
  EXPECT_EQ(last_cut("abc"), 0u);
  EXPECT_EQ(last_cut(" abc"), 0u);
  EXPECT_EQ(last_cut("ab \n"), 2u);
}

}  // namespace
}  // namespace freshet::worker
