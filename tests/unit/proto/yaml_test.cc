#include "proto/yaml.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "proto/defaults.h"
#include "proto/json.h"
#include "tests/paths.h"

namespace freshet {
namespace {

constexpr char kSource[] = "api_version: freshet/v1\nkind: Source\nmetadata: {name: files}\n";

std::string whole_fixture() {
  auto text = read_file(FRESHET_TEST_DATA "/yaml/whole.good.yaml");
  CHECK(text.is_ok());
  return *text;
}

TEST(Yaml, ReadsEveryKindOfValue) {
  auto documents = load_documents(whole_fixture(), "whole.yaml");
  ASSERT_TRUE(documents.is_ok()) << documents.status().to_string();
  ASSERT_EQ(documents->size(), 6u);  // the empty document between two is none
  const auto& pipeline = std::get<v1::Pipeline>((*documents)[0].message);
  EXPECT_EQ(pipeline.metadata().description(), "Größe: every field");
  EXPECT_EQ(pipeline.spec().seed(), UINT64_MAX);
  EXPECT_EQ(pipeline.spec().priority(), -3);
  const auto& train = pipeline.spec().recipe().steps(0).train();
  EXPECT_EQ(train.tabular().features(0).kind(), v1::Feature::NUMERIC);
  EXPECT_EQ(train.tabular().features(2).derive(), v1::Feature::HOUR_OF_DAY);
  EXPECT_EQ(train.tabular().label().positive_above(), -0.5);
  EXPECT_EQ(train.optimizer().learning_rate(), 1e-3);
  EXPECT_EQ(train.optimizer().weight_decay(), 0.01);
  EXPECT_TRUE(train.warm_start());
  EXPECT_EQ(pipeline.spec().recipe().steps(2).command().argv(3), "12");
  EXPECT_EQ(pipeline.spec().promotion().policy(), v1::Promotion::MANUAL);
  EXPECT_TRUE(std::get<v1::Trigger>((*documents)[3].message).spec().paused());
  EXPECT_EQ(std::get<v1::Trigger>((*documents)[5].message).spec().new_commit().paths(1), "features/");
}

TEST(Yaml, AnEmptyMappingAndNothingBothSetAMessage) {
  auto documents = load_documents(whole_fixture(), "whole.yaml");
  ASSERT_TRUE(documents.is_ok());
  const auto& recipe = std::get<v1::Pipeline>((*documents)[0].message).spec().recipe();
  EXPECT_TRUE(recipe.steps(1).has_evaluate());  // evaluate: {}
  EXPECT_TRUE(recipe.steps(3).has_promote());   // promote:
}

TEST(Yaml, ReplacesVariablesInValuesAlone) {
  const std::string text = std::string(kSource) + "spec: {directory: {uri: \"file://${ROOT}/in\", glob: \"$${x}*\"}}\n";
  auto documents = load_documents(text, "source.yaml", {{"ROOT", "/data: [1]"}});
  ASSERT_TRUE(documents.is_ok()) << documents.status().to_string();
  const auto& directory = std::get<v1::Source>((*documents)[0].message).spec().directory();
  EXPECT_EQ(directory.uri(), "file:///data: [1]/in");  // not YAML again
  EXPECT_EQ(directory.glob(), "${x}*");
}

TEST(Yaml, AVariableMayBeANumber) {
  const std::string text =
      "api_version: freshet/v1\nkind: Trigger\nmetadata: {name: a}\nspec: {pipeline: p, new_data: {input: d, min_rows: "
      "$ROWS}}\n";
  std::string with = text;
  with.replace(with.find("$ROWS"), 5, "\n  ${ROWS}");
  auto documents = load_documents(with, "trigger.yaml", {{"ROWS", "1000"}});
  ASSERT_FALSE(documents.is_ok());  // inside { } the braces are YAML's
  const std::string block =
      "api_version: freshet/v1\nkind: Trigger\nmetadata: {name: a}\nspec:\n  pipeline: p\n  new_data:\n    input: d\n"
      "    min_rows: ${ROWS}\n";
  documents = load_documents(block, "trigger.yaml", {{"ROWS", "1000"}});
  ASSERT_TRUE(documents.is_ok()) << documents.status().to_string();
  EXPECT_EQ(std::get<v1::Trigger>((*documents)[0].message).spec().new_data().min_rows(), 1000u);
  EXPECT_EQ(load_documents(block, "trigger.yaml", {{"ROWS", "many"}}).status().message(),
            "trigger.yaml:8: spec.new_data.min_rows: expected a whole number, got 'many'");
}

TEST(Yaml, VariablesOfARecipeStayText) {
  auto recipe = load_recipe(
      "api_version: freshet/v1\nkind: Recipe\nspec:\n  steps:\n    - {name: a, command: {argv: [echo, \"${HOME}\"]}}\n",
      "recipe.yaml");
  ASSERT_TRUE(recipe.is_ok()) << recipe.status().to_string();
  EXPECT_EQ(recipe->steps(0).command().argv(1), "${HOME}");
}

TEST(Yaml, AValueThatIsNotUtf8IsRefused) {
  const std::string text = std::string(kSource) + "spec:\n  directory: {uri: \"${ROOT}\"}\n";
  EXPECT_EQ(load_documents(text, "s.yaml", {{"ROOT", "\xff"}}).status().message(),
            "s.yaml:5: spec.directory.uri: is not UTF-8 text");
  EXPECT_EQ(load_documents(std::string(kSource) + "spec: {directory: {uri: \"a\\0b\"}}\n", "s.yaml").status().message(),
            "s.yaml:4: spec.directory.uri: is not UTF-8 text");
}

TEST(Yaml, ShowsOnlySoManyMistakes) {
  std::string text(kSource);
  for (int i = 0; i < 25; ++i) text += "wrong" + std::to_string(i) + ": 1\n";
  const std::string message = load_documents(text, "s.yaml").status().message();
  EXPECT_NE(message.find("s.yaml:23: wrong19: unknown key"), std::string::npos) << message;
  EXPECT_EQ(message.find("wrong20"), std::string::npos);
  EXPECT_TRUE(message.ends_with("\n... and 5 more")) << message;
}

TEST(Yaml, LongWordsAreCutInMessages) {
  const std::string message =
      load_documents(std::string(kSource) + std::string(900, 'x') + ": 1\n", "s.yaml").status().message();
  EXPECT_EQ(message, "s.yaml:4: " + std::string(60, 'x') +
                         "...: unknown key; the keys here are api_version, kind, metadata, spec");
}

TEST(Yaml, LinesFindTheNearestKey) {
  YamlLines lines;
  lines.add("", 2);
  lines.add("spec", 5);
  lines.add("spec.gates[1]", 9);
  EXPECT_EQ(lines.of("spec.gates[1].absolute.min"), 9);
  EXPECT_EQ(lines.of("spec.gates[0].absolute"), 5);
  EXPECT_EQ(lines.of("metadata.name"), 2);
}

TEST(Yaml, ADocumentIsTheSameAsItsJson) {
  auto documents = load_documents(whole_fixture(), "whole.yaml");
  ASSERT_TRUE(documents.is_ok());
  for (const auto& document : *documents) {
    std::visit(
        [](const auto& message) {
          std::decay_t<decltype(message)> again;
          ASSERT_TRUE(from_json(to_json(message), &again).is_ok());
          EXPECT_EQ(to_canonical_json(again), to_canonical_json(message));
        },
        document.message);
  }
}

TEST(Yaml, AMissingFileIsNamed) {
  auto documents = load_document_file("/nowhere/at-all.yaml");
  ASSERT_FALSE(documents.is_ok());
  EXPECT_EQ(documents.status().code(), Code::kNotFound);
  EXPECT_NE(documents.status().message().find("/nowhere/at-all.yaml"), std::string::npos);
}

TEST(Yaml, AnEmptyConfigurationIsOne) {
  auto config = load_config("# nothing\n", "freshetd.yaml");
  ASSERT_TRUE(config.is_ok());
  EXPECT_EQ(config->ByteSizeLong(), 0u);
}

}  // namespace
}  // namespace freshet
