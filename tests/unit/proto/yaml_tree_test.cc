#include "proto/yaml_tree.h"

#include <gtest/gtest.h>

namespace freshet {
namespace {

std::string refusal(std::string_view text) { return parse_yaml(text, "f.yaml").status().message(); }

TEST(YamlTree, KeepsLinesQuotesAndOrder) {
  auto documents = parse_yaml("b: 'x'\na:\n  - 1\n  - {c: ~}\n---\nlast\n", "f.yaml");
  ASSERT_TRUE(documents.is_ok()) << documents.status().to_string();
  ASSERT_EQ(documents->size(), 2u);
  const YamlNode& root = (*documents)[0];
  ASSERT_EQ(root.members.size(), 2u);
  EXPECT_EQ(root.members[0].first.text, "b");
  EXPECT_TRUE(root.members[0].second.quoted);
  const YamlNode& list = root.members[1].second;
  ASSERT_EQ(list.items.size(), 2u);
  EXPECT_EQ(list.items[0].line, 3);
  EXPECT_FALSE(list.items[0].quoted);
  EXPECT_EQ(list.items[1].members[0].second.kind, YamlNode::Kind::kNull);
  EXPECT_EQ((*documents)[1].line, 6);
}

TEST(YamlTree, KeepsDuplicateKeys) {
  auto documents = parse_yaml("a: 1\na: 2\n", "f.yaml");
  ASSERT_TRUE(documents.is_ok());
  EXPECT_EQ((*documents)[0].members.size(), 2u);
}

TEST(YamlTree, RefusesWhatGrows) {
  EXPECT_EQ(refusal("a: &x 1\nb: *x\n"), "f.yaml:2: an alias (*name) is not supported; write the value out");
  EXPECT_EQ(refusal("a: *x\n").substr(0, 9), "f.yaml:1:");
  EXPECT_EQ(refusal(std::string(kYamlBytesMax + 1, ' ')),
            "f.yaml:1: the file has 1048577 bytes; at most 1 MiB is read");
  std::string nested;
  for (size_t i = 0; i < 2000; ++i) nested += std::string(i, ' ') + "a:\n";
  EXPECT_NE(refusal(nested), "");
  EXPECT_NE(refusal(std::string(100'000, '[')), "");
  EXPECT_NE(refusal(std::string(100'000, '{')), "");
}

TEST(YamlTree, RefusesBytesThatAreNoText) {
  EXPECT_EQ(refusal(std::string("a: \0b\n", 6)), "f.yaml:1: holds a zero byte; this is no text file");
  EXPECT_EQ(refusal("a: 1\nb: \xc0\x80\n"), "f.yaml:2: not UTF-8");       // overlong
  EXPECT_EQ(refusal("a: \xed\xa0\x80\n"), "f.yaml:1: not UTF-8");         // a surrogate
  EXPECT_EQ(refusal("a: \xf5\x80\x80\x80\n"), "f.yaml:1: not UTF-8");     // beyond Unicode
  EXPECT_EQ(refusal("a: \xe2\x82"), "f.yaml:1: not UTF-8");               // cut
  EXPECT_EQ(refusal("a: \xe2\x82\xac \xf0\x9f\x98\x80 \xc3\xa9\n"), "");  // all lengths
}

TEST(YamlTree, NothingIsNoDocument) {
  auto documents = parse_yaml("", "f.yaml");
  ASSERT_TRUE(documents.is_ok());
  EXPECT_TRUE(documents->empty());
}

}  // namespace
}  // namespace freshet
