// Every YAML file in configs/ loads and passes its checks, and each pipeline fits the recipe that its repository begins
// with. What a file in a folder `repository` says is a recipe; all others are documents of an operator.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "proto/defaults.h"
#include "proto/validate.h"
#include "proto/yaml.h"
#include "tests/paths.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;

const fs::path kConfigs = FRESHET_SOURCE_ROOT "/configs";
const YamlVariables kVariables = {{"DATA_DIR", "/data/in"}, {"REPOSITORY", "/data/code"}};

std::vector<fs::path> config_files() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(kConfigs)) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

bool is_in_repository(const fs::path& file) { return std::find(file.begin(), file.end(), "repository") != file.end(); }

TEST(Configs, EachLoadsAndIsValid) {
  const auto files = config_files();
  ASSERT_FALSE(files.empty());
  for (const auto& file : files) {
    auto text = read_file(file);
    ASSERT_TRUE(text.is_ok()) << text.status().to_string();
    if (is_in_repository(file)) {
      EXPECT_EQ(load_recipe(*text, file.string()).status().message(), "");
      continue;
    }
    auto documents = load_documents(*text, file.string(), kVariables);
    ASSERT_TRUE(documents.is_ok()) << documents.status().message();
    for (const auto& document : *documents) EXPECT_EQ(check(document).message(), "");
  }
}

TEST(Configs, EachPipelineFitsTheRecipeOfItsRepository) {
  int pipelines = 0;
  for (const auto& file : config_files()) {
    if (is_in_repository(file)) continue;
    auto documents = load_document_file(file, kVariables);
    ASSERT_TRUE(documents.is_ok()) << documents.status().message();
    for (auto& document : *documents) {
      auto* pipeline = std::get_if<v1::Pipeline>(&document.message);
      if (pipeline == nullptr || !pipeline->spec().has_recipe_from()) continue;
      ++pipelines;
      const fs::path path = file.parent_path() / "repository" / pipeline->spec().recipe_from().path();
      auto text = read_file(path);
      ASSERT_TRUE(text.is_ok()) << text.status().to_string();
      auto recipe = load_recipe(*text, path.string());
      ASSERT_TRUE(recipe.is_ok()) << recipe.status().message();
      pipeline->mutable_spec()->clear_recipe_from();
      *pipeline->mutable_spec()->mutable_recipe() = *recipe;
      apply_defaults(pipeline);
      EXPECT_EQ(validate(*pipeline).message(), "") << file;
    }
  }
  EXPECT_GT(pipelines, 0);
}

}  // namespace
}  // namespace freshet
