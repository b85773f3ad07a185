#include "proto/defaults.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "proto/json.h"
#include "proto/yaml.h"
#include "tests/paths.h"

namespace freshet {
namespace {

v1::Pipeline pipeline_of(const std::string& json) {
  v1::Pipeline pipeline;
  Status status = from_json(json, &pipeline);
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  return pipeline;
}

TEST(Defaults, FillWhatIsLeftOut) {
  v1::Pipeline pipeline = pipeline_of(R"({
    "metadata": {"name": "flights"},
    "spec": {
      "inputs": [{"name": "data", "source": "files", "holdout_newest_entries": 1}],
      "resources": [{"step": "train", "ranks": 2, "threads_per_rank": 3}],
      "gates": [{"name": "a", "relative": {}}, {"name": "b", "slices": {"column": "x"}}],
      "recipe": {"steps": [
        {"name": "train", "train": {"tabular": {"features": [
          {"column": "a", "kind": "NUMERIC"}, {"column": "b", "kind": "CATEGORICAL"}]}}},
        {"name": "evaluate", "evaluate": {}}]}}})");
  apply_defaults(&pipeline);
  EXPECT_EQ(to_canonical_json(pipeline), to_canonical_json(pipeline_of(R"({
    "api_version": "freshet/v1", "kind": "Pipeline", "metadata": {"name": "flights", "project": "default"},
    "spec": {
      "model": "flights", "promotion": {"alias": "champion"},
      "inputs": [{"name": "data", "source": "files", "holdout_newest_entries": 1,
                  "validation": {"min_rows": "1", "max_missing_share": 0.1}}],
      "resources": [{"step": "train", "ranks": 2, "threads_per_rank": 3, "slots": 6, "timeout_s": 86400,
                     "max_attempts": 3}],
      "gates": [{"name": "a", "relative": {"confidence": 0.95, "resamples": 2000}},
                {"name": "b", "slices": {"column": "x", "largest": 10}}],
      "retention": {"keep_last": 10, "keep_best": 3, "keep_promoted_days": 90},
      "recipe": {"steps": [
        {"name": "train", "train": {
          "input": "data", "epochs": 1,
          "tabular": {"features": [{"column": "a", "kind": "NUMERIC"},
                                   {"column": "b", "kind": "CATEGORICAL", "embedding_dim": 16}]},
          "optimizer": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
          "batch": {"micro_batch_rows": 512, "micro_batches": 8}}},
        {"name": "evaluate", "evaluate": {"input": "data"}}]}}})")));
}

TEST(Defaults, OfASchedule) {
  for (auto [given, filled] : {std::pair{"{}", "{}"},
                               {R"({"kind": "COSINE"})", R"({"kind": "COSINE", "final_ratio": 0.1})"},
                               {R"({"kind": "COSINE", "final_ratio": 0})", R"({"kind": "COSINE", "final_ratio": 0})"},
                               {R"({"kind": "WSD"})", R"({"kind": "WSD", "final_ratio": 0, "decay_fraction": 0.2})"}}) {
    v1::Recipe recipe;
    auto* optimizer = recipe.add_steps()->mutable_train()->mutable_optimizer();
    ASSERT_TRUE(from_json(given, optimizer->mutable_schedule()).is_ok());
    apply_defaults(&recipe);
    v1::Schedule expected;
    ASSERT_TRUE(from_json(filled, &expected).is_ok());
    EXPECT_EQ(to_canonical_json(optimizer->schedule()), to_canonical_json(expected));
  }
}

TEST(Defaults, FillWhatRecommendersLeaveOut) {
  v1::Recipe recipe;
  auto* train = recipe.add_steps()->mutable_train();
  train->mutable_tabular()->set_interaction(v1::TabularModel::CROSS);
  train->mutable_optimizer()->mutable_embeddings();
  apply_defaults(&recipe);
  EXPECT_EQ(train->tabular().cross_layers(), 3U);
  EXPECT_EQ(train->tabular().cross_rank(), 0U);
  EXPECT_EQ(train->optimizer().embeddings().learning_rate(), 1e-2);
  EXPECT_EQ(train->optimizer().embeddings().epsilon(), 1e-8);
  train->mutable_tabular()->set_interaction(v1::TabularModel::DOT);
  train->mutable_tabular()->set_cross_layers(0);
  train->mutable_optimizer()->clear_embeddings();
  apply_defaults(&recipe);
  EXPECT_EQ(train->tabular().cross_layers(), 0U);
  EXPECT_FALSE(train->optimizer().has_embeddings());
}

TEST(Defaults, LeaveWhatIsSaidAndAreIdempotent) {
  auto text = read_file(FRESHET_TEST_DATA "/yaml/whole.good.yaml");
  ASSERT_TRUE(text.is_ok());
  auto documents = load_documents(*text, "whole.yaml");
  ASSERT_TRUE(documents.is_ok());
  for (auto& document : *documents) {
    if (auto* pipeline = std::get_if<v1::Pipeline>(&document.message)) {
      const v1::Pipeline before = *pipeline;
      apply_defaults(pipeline);
      EXPECT_EQ(to_canonical_json(before.spec().gates(1)), to_canonical_json(pipeline->spec().gates(1)));
      EXPECT_EQ(to_canonical_json(before.spec().resources(0)), to_canonical_json(pipeline->spec().resources(0)));
      EXPECT_EQ(pipeline->spec().promotion().alias(), "live");
      EXPECT_EQ(pipeline->metadata().project(), "team-a");
      const std::string once = to_canonical_json(*pipeline);
      apply_defaults(pipeline);
      EXPECT_EQ(to_canonical_json(*pipeline), once);
    }
    if (auto* source = std::get_if<v1::Source>(&document.message)) {
      const std::string spec = to_canonical_json(source->spec());
      apply_defaults(source);
      EXPECT_EQ(to_canonical_json(source->spec()), spec);
      EXPECT_EQ(source->metadata().project(), "default");
    }
  }
}

TEST(Defaults, VersionsAreRankedByTheFirstAbsoluteGate) {
  v1::Pipeline pipeline = pipeline_of(R"({"spec": {
    "gates": [{"name": "a", "relative": {}}, {"name": "b", "absolute": {"metric": "auc"}},
              {"name": "c", "absolute": {"metric": "log_loss"}}],
    "retention": {"keep_last": 0}}})");
  apply_defaults(&pipeline);
  EXPECT_EQ(to_canonical_json(pipeline.spec().retention()),
            R"({"keep_best":3,"keep_last":0,"keep_promoted_days":90,"metric":"auc"})");
}

TEST(Defaults, OfSources) {
  v1::Source source;
  source.mutable_spec()->mutable_directory()->set_uri("file:///x");
  apply_defaults(&source);
  EXPECT_EQ(source.spec().directory().glob(), "*");
  source.mutable_spec()->mutable_git()->set_uri("file:///x");
  apply_defaults(&source);
  EXPECT_EQ(source.spec().git().poll_interval_ms(), 1000u);
  EXPECT_EQ(source.kind(), "Source");
}

TEST(Defaults, WithTwoInputsAStepMustSayWhich) {
  v1::Pipeline pipeline;
  pipeline.mutable_spec()->add_inputs()->set_name("a");
  pipeline.mutable_spec()->add_inputs()->set_name("b");
  pipeline.mutable_spec()->mutable_recipe()->add_steps()->mutable_evaluate();
  apply_defaults(&pipeline);
  EXPECT_EQ(pipeline.spec().recipe().steps(0).evaluate().input(), "");
}

TEST(Defaults, AGateOnAReplayGivesTheRecipeTheStep) {
  v1::Pipeline pipeline = pipeline_of(R"({"spec": {
    "gates": [{"name": "a", "replay": {}}],
    "recipe": {"steps": [{"name": "fit", "train": {}}, {"name": "score", "needs": ["fit"], "evaluate": {}},
                         {"name": "publish", "needs": ["score"], "promote": {}}]}}})");
  apply_defaults(&pipeline);
  const v1::Recipe& recipe = pipeline.spec().recipe();
  ASSERT_EQ(recipe.steps_size(), 4);
  EXPECT_EQ(to_canonical_json(recipe.steps(3)), R"({"name":"replay","needs":["fit"],"replay":{}})");
  EXPECT_EQ(to_canonical_json(recipe.steps(2)), R"({"name":"publish","needs":["score","replay"],"promote":{}})");
  const std::string once = to_canonical_json(pipeline);
  apply_defaults(&pipeline);
  EXPECT_EQ(to_canonical_json(pipeline), once);

  // A recipe that has the step keeps it.
  pipeline.mutable_spec()->mutable_recipe()->mutable_steps(3)->set_name("again");
  pipeline.mutable_spec()->mutable_recipe()->mutable_steps(2)->set_needs(1, "again");
  apply_defaults(&pipeline);
  EXPECT_EQ(pipeline.spec().recipe().steps_size(), 4);

  pipeline.mutable_spec()->clear_gates();
  pipeline.mutable_spec()->mutable_recipe()->mutable_steps()->RemoveLast();
  apply_defaults(&pipeline);
  EXPECT_EQ(pipeline.spec().recipe().steps_size(), 3);
}

}  // namespace
}  // namespace freshet
