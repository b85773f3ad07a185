// What the fixtures in tests/data/yaml do not reach; most rules of validate() are shown there with their messages.
#include "proto/validate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "proto/defaults.h"
#include "proto/json.h"

namespace freshet {
namespace {

v1::Pipeline valid_pipeline() {
  v1::Pipeline pipeline;
  Status status = from_json(R"({
    "metadata": {"name": "flights"},
    "spec": {
      "inputs": [{"name": "data", "source": "files", "holdout_newest_entries": 1}],
      "gates": [{"name": "good", "absolute": {"metric": "auc", "min": 0.5}}],
      "recipe": {"steps": [
        {"name": "train", "train": {"tabular": {
           "features": [{"column": "a", "kind": "NUMERIC"}], "label": {"column": "b", "task": "BINARY"}}}},
        {"name": "evaluate", "needs": ["train"], "evaluate": {}},
        {"name": "promote", "needs": ["evaluate"], "promote": {}}]}}})",
                            &pipeline);
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  apply_defaults(&pipeline);
  return pipeline;
}

std::string said_of(const v1::Pipeline& pipeline) { return validate(pipeline).message(); }

TEST(Validate, AcceptsAPipeline) { EXPECT_EQ(said_of(valid_pipeline()), ""); }

TEST(Validate, Names) {
  for (const char* name : {"a", "0", "flights-2001", "a--b"}) EXPECT_TRUE(is_name(name)) << name;
  EXPECT_TRUE(is_name(std::string(63, 'a')));
  for (const char* name : {"", "-a", "a-", "A", "a_b", "a.b", "ä", "a/b", "a b"}) EXPECT_FALSE(is_name(name)) << name;
  EXPECT_FALSE(is_name(std::string(64, 'a')));
}

TEST(Validate, AGateMustNameAMetricOfTheLabel) {
  v1::Pipeline pipeline = valid_pipeline();
  pipeline.mutable_spec()
      ->mutable_recipe()
      ->mutable_steps(0)
      ->mutable_train()
      ->mutable_tabular()
      ->mutable_label()
      ->set_task(v1::Label::REGRESSION);
  EXPECT_EQ(said_of(pipeline),
            "spec.gates[0].absolute.metric: 'auc' is not measured for a REGRESSION label; use one of rmse, mae, r2");
}

TEST(Validate, NonFiniteNumbersAreRefused) {
  v1::Pipeline pipeline = valid_pipeline();
  pipeline.mutable_spec()->mutable_gates(0)->mutable_absolute()->set_min(std::nan(""));
  pipeline.mutable_spec()->mutable_recipe()->mutable_steps(0)->mutable_train()->mutable_optimizer()->set_learning_rate(
      std::numeric_limits<double>::infinity());
  EXPECT_EQ(said_of(pipeline),
            "spec.recipe.steps[0].train.optimizer.learning_rate: inf is out of range; use more than 0; "
            "spec.gates[0].absolute.min: must be a finite number");
}

TEST(Validate, AStepOfARevisionIsCheckedAgainstTheOperatorsResources) {
  v1::Pipeline pipeline = valid_pipeline();
  auto* resources = pipeline.mutable_spec()->add_resources();
  resources->set_step("train");
  resources->set_ranks(4);
  apply_defaults(&pipeline);
  EXPECT_EQ(said_of(pipeline), "");
  pipeline.mutable_spec()->mutable_recipe()->mutable_steps(0)->mutable_train()->mutable_batch()->set_micro_batches(2);
  EXPECT_EQ(said_of(pipeline),
            "spec.resources[0].ranks: 4 ranks can't share 2 micro-batches; use at most as many ranks, or more "
            "micro_batches in the recipe");
}

TEST(Validate, ALongChainOfStepsIsNoCycle) {
  v1::Recipe recipe;
  for (int i = 0; i < 20'000; ++i) {
    auto* step = recipe.add_steps();
    step->set_name("s" + std::to_string(i));
    if (i > 0) step->add_needs("s" + std::to_string(i - 1));
    step->mutable_command()->add_argv("true");
  }
  EXPECT_EQ(validate(recipe).message(), "");
  recipe.mutable_steps(0)->add_needs("s19999");
  EXPECT_NE(validate(recipe).message().find("in a circle: s0 -> "), std::string::npos);
}

TEST(Validate, Triggers) {
  v1::Trigger trigger;
  trigger.mutable_metadata()->set_name("t");
  apply_defaults(&trigger);
  EXPECT_EQ(
      validate(trigger).message(),
      "spec.pipeline: is missing; give it a name of lower-case letters, digits and '-', at most 63, that begins and "
      "ends with a letter or digit; spec: says not when to fire; add one of new_data, new_commit, cron");
  trigger.mutable_spec()->set_pipeline("p");
  trigger.mutable_spec()->mutable_new_commit()->set_source("code");
  for (const char* path : {"recipe.yaml", "features/", "a/b"})
    trigger.mutable_spec()->mutable_new_commit()->add_paths(path);
  EXPECT_EQ(validate(trigger).message(), "");
  for (const char* path : {"../x", "/x", "", "a//b", "./a"}) {
    trigger.mutable_spec()->mutable_new_commit()->clear_paths();
    trigger.mutable_spec()->mutable_new_commit()->add_paths(path);
    EXPECT_EQ(validate(trigger).message(), "spec.new_commit.paths[0]: '" + std::string(path) +
                                               "' is no path in a repository; write it relative, without '..'");
  }
  trigger.mutable_spec()->mutable_cron();
  EXPECT_EQ(validate(trigger).message(), "spec.cron.schedule: is missing; give five fields, such as \"0 3 * * *\"");
}

TEST(Validate, Sources) {
  v1::Source source;
  source.mutable_metadata()->set_name("code");
  apply_defaults(&source);
  EXPECT_EQ(validate(source).message(), "spec: says nothing to watch; add one of directory, git");
  source.mutable_spec()->mutable_git()->set_uri("--upload-pack=evil");
  source.mutable_spec()->mutable_git()->set_branch("-x");
  source.mutable_spec()->mutable_git()->set_poll_interval_ms(1);
  EXPECT_EQ(validate(source).message(),
            "spec.git.uri: must not begin with '-'; spec.git.branch: '-x' is no branch; name one, such as main; "
            "spec.git.poll_interval_ms: 1 is out of range; use 50 to 86400000");
  source.mutable_spec()->mutable_directory()->set_uri("file:///x");
  source.mutable_spec()->mutable_directory()->set_glob("a/*");
  EXPECT_EQ(validate(source).message(), "spec.directory.glob: 'a/*' is no pattern of file names such as *.parquet");
}

TEST(Validate, AReplayIsOfATrainStep) {
  v1::Pipeline pipeline = valid_pipeline();
  v1::Gate* gate = pipeline.mutable_spec()->add_gates();
  gate->set_name("reproducible");
  gate->mutable_replay();
  apply_defaults(&pipeline);
  EXPECT_EQ(said_of(pipeline), "");

  v1::Pipeline wrong = pipeline;
  v1::Step* replay = wrong.mutable_spec()->mutable_recipe()->mutable_steps(3);
  replay->mutable_replay()->set_version("flights/1");
  replay->set_needs(0, "evaluate");
  EXPECT_EQ(said_of(wrong),
            "spec.recipe.steps[3].needs: a replay step does one training again; name the train step in it; "
            "spec.recipe.steps[3].replay: takes nothing; `freshet replay` trains a registered version again");

  // The name is taken by a step of the recipe's own.
  pipeline = valid_pipeline();
  *pipeline.mutable_spec()->add_gates() = wrong.spec().gates(1);
  pipeline.mutable_spec()->mutable_recipe()->mutable_steps(1)->set_name("replay");
  pipeline.mutable_spec()->mutable_recipe()->mutable_steps(2)->set_needs(0, "replay");
  apply_defaults(&pipeline);
  EXPECT_NE(said_of(pipeline).find("spec.recipe.steps[3].name: 'replay' is the name of another step"),
            std::string::npos)
      << said_of(pipeline);

  pipeline = valid_pipeline();
  *pipeline.mutable_spec()->add_gates() = wrong.spec().gates(1);
  v1::Step* made = pipeline.mutable_spec()->mutable_recipe()->mutable_steps(0);
  made->mutable_command()->add_argv("make");
  apply_defaults(&pipeline);
  EXPECT_NE(said_of(pipeline).find("spec.gates[1].replay: the recipe has no train step that could be done again"),
            std::string::npos)
      << said_of(pipeline);
}

}  // namespace
}  // namespace freshet
