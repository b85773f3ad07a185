// Every file of tests/data/yaml: *.good.yaml loads and passes its checks; *.bad.yaml gives exactly the mistakes that
// its comments "# expect: LINE: message" name, in their order. *.recipe.* is read as a revision's recipe, *.config.* as
// freshetd's configuration.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "proto/yaml.h"
#include "tests/paths.h"

namespace freshet {
namespace {

std::vector<std::string> fixtures(const std::string& ending) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(FRESHET_TEST_DATA "/yaml")) {
    std::string name = entry.path().filename().string();
    if (name.ends_with(ending)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string text_of(const std::string& name) {
  auto text = read_file(std::filesystem::path(FRESHET_TEST_DATA "/yaml") / name);
  EXPECT_TRUE(text.is_ok()) << text.status().to_string();
  return text.is_ok() ? *text : "";
}

// All that is said of the file; empty when it is in order.
std::string mistakes_in(const std::string& name) {
  const std::string text = text_of(name);
  if (name.find(".recipe.") != std::string::npos) return load_recipe(text, name).status().message();
  if (name.find(".config.") != std::string::npos) return load_config(text, name).status().message();
  auto documents = load_documents(text, name);
  if (!documents.is_ok()) return documents.status().message();
  std::string mistakes;
  for (const auto& document : *documents) {
    std::string found = check(document).message();
    if (!found.empty()) mistakes += (mistakes.empty() ? "" : "\n") + found;
  }
  return mistakes;
}

std::string expected_in(const std::string& name) {
  static const std::string kMark = "# expect: ";
  std::string expected;
  const std::string text = text_of(name);
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (line.starts_with(kMark)) expected += (expected.empty() ? "" : "\n") + name + ":" + line.substr(kMark.size());
    begin = end + 1;
  }
  return expected;
}

class GoodFixture : public testing::TestWithParam<std::string> {};
class BadFixture : public testing::TestWithParam<std::string> {};

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name;
  for (char c : info.param) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

TEST_P(GoodFixture, IsAccepted) { EXPECT_EQ(mistakes_in(GetParam()), ""); }
INSTANTIATE_TEST_SUITE_P(Yaml, GoodFixture, testing::ValuesIn(fixtures(".good.yaml")), test_name);

TEST_P(BadFixture, NamesEveryMistakeWithItsPlace) {
  ASSERT_NE(expected_in(GetParam()), "") << "the fixture says no '# expect: '";
  EXPECT_EQ(mistakes_in(GetParam()), expected_in(GetParam()));
}
INSTANTIATE_TEST_SUITE_P(Yaml, BadFixture, testing::ValuesIn(fixtures(".bad.yaml")), test_name);

}  // namespace
}  // namespace freshet
