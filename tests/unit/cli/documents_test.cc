#include "cli/documents.h"

#include <gtest/gtest.h>

#include <sstream>

#include "tests/unit/cli/program.h"

namespace freshet::cli::test {
namespace {

class Documents : public Program {
 protected:
  Result<v1::ApplyRequest> load(const std::vector<std::string>& names) {
    std::istringstream none;
    std::vector<std::string> paths;
    for (const auto& name : names) paths.push_back((dir_ / name).string());
    return load_request(paths, {}, "default", none);
  }
  std::string at(const std::string& name, const std::string& message) { return (dir_ / name).string() + ":" + message; }
};

TEST_F(Documents, MistakesOfAllFilesComeTogether) {
  write("a.yaml", "api_version: freshet/v1\nkind: Source\nmetadata: {name: Files}\nspec: {directory: {uri: x}}\n");
  write("b.yaml", "api_version: freshet/v1\nkind: Sourc\n");
  EXPECT_EQ(load({"a.yaml", "b.yaml"}).status().message(),
            at("a.yaml",
               "3: metadata.name: 'Files' is no name; use one of lower-case letters, digits and '-', at most 63, "
               "that begins and ends with a letter or digit\n") +
                at("a.yaml", "4: spec.directory.uri: 'x' is no file URI; use file:///absolute/path\n") +
                at("b.yaml", "2: kind: 'Sourc' is not known; did you mean 'Source'?"));
}

TEST_F(Documents, ARecipeIsNotApplied) {
  write("recipe.yaml", "api_version: freshet/v1\nkind: Recipe\nspec:\n  steps: []\n");
  EXPECT_EQ(load({"recipe.yaml"}).status().message(),
            at("recipe.yaml",
               "2: kind: a Recipe is read from its Git repository; commit it there, or write it as `recipe:` "
               "into the Pipeline"));
}

TEST_F(Documents, MissingFilesAndEmptyDirectoriesAreNotFound) {
  write("empty/readme.txt", "");
  EXPECT_EQ(load({"missing.yaml"}).status().code(), Code::kNotFound);
  EXPECT_EQ(load({"empty"}).status().message(), "directory " + (dir_ / "empty").string() + " holds no *.yaml file");
}

TEST_F(Documents, Variables) {
  auto variables = parse_variables({"A=1", "B=x=y", "C="});
  ASSERT_TRUE(variables.is_ok());
  EXPECT_EQ(*variables, (YamlVariables{{"A", "1"}, {"B", "x=y"}, {"C", ""}}));
  EXPECT_EQ(parse_variables({"A"}).status().message(), "--var 'A' is not NAME=VALUE");
  EXPECT_EQ(parse_variables({"=1"}).status().message(), "--var '=1' is not NAME=VALUE");
  EXPECT_EQ(parse_variables({"A=1", "A=2"}).status().message(), "--var A is given twice");
}

}  // namespace
}  // namespace freshet::cli::test
