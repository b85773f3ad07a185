// What freshet-tune asks for of a recipe, and what it makes of a table.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "base/file.h"
#include "kernels/cuda/device.h"
#include "tests/unit/worker/temp_dir.h"
#include "worker/checkpoint/gpt_artifact.h"
#include "worker/gpu/gpt_device_products.h"
#include "worker/gpu/gpt_device_scorer.h"
#include "worker/gpu/step_products.h"
#include "worker/gpu/tabular_device.h"
#include "worker/tune/tune_table.h"

namespace freshet::worker {
namespace {

v1::TrainStep gpt_step() {
  v1::TrainStep step;
  auto* gpt = step.mutable_gpt();
  gpt->set_compute(v1::GptModel::BFLOAT16);
  gpt->set_layers(2);
  gpt->set_heads(2);
  gpt->set_width(128);
  gpt->set_context(32);
  step.mutable_batch()->set_micro_batch_rows(4);
  return step;
}

TEST(StepProducts, OfAGptAreThoseOfTrainingAndScoring) {
  v1::TrainStep step = gpt_step();
  for (const size_t vocabulary : {size_t{0}, size_t{300}}) {
    const size_t tokens = vocabulary > 0 ? vocabulary : GptTokenizer(std::nullopt).get().vocabulary_size();
    const auto model = make_gpt(step.gpt(), tokens).value();
    const auto plan = plan_gpt_device(model.config(), {4, 32}, {}).value();
    const auto training = gpt_device_products(model.config(), plan);
    const auto shapes = products_of_step(step, {.vocabulary = vocabulary});
    ASSERT_TRUE(shapes.is_ok()) << shapes.status().to_string();
    const auto scoring = gpt_device_products(model.config(), plan_gpt_scoring(model.config()).value());
    std::set<cuda::ProductShape> expected(scoring.begin(), scoring.end());
    expected.insert(training.begin(), training.end());
    EXPECT_EQ(*shapes, std::vector<cuda::ProductShape>(expected.begin(), expected.end()));
  }
  step.mutable_gpt()->set_vocabulary(512);
  const auto shapes = products_of_step(step, {});
  ASSERT_TRUE(shapes.is_ok());
  EXPECT_TRUE(std::any_of(shapes->begin(), shapes->end(), [](const auto& shape) { return shape.n == 512; }));
  step.mutable_gpt()->set_compute(v1::GptModel::FLOAT32);
  EXPECT_EQ(products_of_step(step, {}).status().code(), Code::kInvalidArgument);
}

TEST(StepProducts, OfATabularModelNeedNoVocabularies) {
  v1::TrainStep step;
  auto* tabular = step.mutable_tabular();
  tabular->set_compute(v1::TabularModel::BFLOAT16);
  auto* word = tabular->add_features();
  word->set_column("word");
  word->set_kind(v1::Feature::CATEGORICAL);
  auto* number = tabular->add_features();
  number->set_column("number");
  number->set_kind(v1::Feature::NUMERIC);
  tabular->mutable_label()->set_column("label");
  tabular->mutable_label()->set_task(v1::Label::BINARY);
  tabular->add_hidden_layers(24);
  step.mutable_batch()->set_micro_batch_rows(20);

  EXPECT_EQ(products_of_step(step, {}).status().code(), Code::kInvalidArgument) << "AdamW trains its tables";
  step.mutable_optimizer()->mutable_embeddings();

  TabularShape shape;
  shape.categorical = {{"word", 77, 16}};
  shape.numeric = 1;
  shape.hidden = {24};
  const auto shapes = products_of_step(step, {});
  ASSERT_TRUE(shapes.is_ok()) << shapes.status().to_string();
  EXPECT_EQ(*shapes, TabularDevice::products_of(TabularModel::create(shape).value(), 20));

  tabular->mutable_label()->set_task(v1::Label::MULTICLASS);
  EXPECT_EQ(products_of_step(step, {}).status().code(), Code::kInvalidArgument) << "the data have the classes";
  shape.binary = false;
  shape.classes = 9;
  const auto of_classes = products_of_step(step, {.classes = 9});
  ASSERT_TRUE(of_classes.is_ok()) << of_classes.status().to_string();
  EXPECT_EQ(*of_classes, TabularDevice::products_of(TabularModel::create(shape).value(), 20));
  tabular->set_compute(v1::TabularModel::FLOAT32);
  EXPECT_EQ(products_of_step(step, {.classes = 9}).status().code(), Code::kInvalidArgument);
}

class TuneTable : public testing::Test {
 protected:
  std::filesystem::path file() const { return directory_.path() / "products"; }
  std::string text() const { return read_file(file()).value(); }

  TempDir directory_;
  const cuda::ProductShape small_{8, 16, 8}, other_{16, 8, 8};
};

TEST_F(TuneTable, WhatIsInItStays) {
  const auto first = tune_into(file(), {small_});
  ASSERT_TRUE(first.is_ok()) << first.status().to_string();
  EXPECT_EQ(text(), first->whole.to_text());
  cuda::ProductTable marked = first->whole;
  marked.entries[0].microseconds = 12345;
  std::ofstream(file()) << marked.to_text();

  const auto second = tune_into(file(), {small_, other_, other_});
  ASSERT_TRUE(second.is_ok()) << second.status().to_string();
  ASSERT_EQ(second->added.entries.size(), 1U);
  EXPECT_EQ(second->added.entries[0].shape, other_);
  EXPECT_EQ(second->whole.find(small_).value().microseconds, 12345);
  EXPECT_EQ(text(), second->whole.to_text());

  const auto again = tune_into(file(), {small_}, {.again = true});
  ASSERT_TRUE(again.is_ok()) << again.status().to_string();
  EXPECT_NE(again->whole.find(small_).value().microseconds, 12345);
  EXPECT_EQ(again->whole.entries.size(), 2U);
}

TEST_F(TuneTable, WhatWasTimedBeforeAnErrorStays) {
  cuda::ProductShape wrong = other_;
  wrong.operands = cuda::Type::kFloat32;
  EXPECT_EQ(tune_into(file(), {small_, wrong}).status().code(), Code::kInvalidArgument);
  EXPECT_TRUE(cuda::ProductTable::of_text(text()).value().find(small_).is_ok());
}

TEST_F(TuneTable, OfAnotherDeviceIsRefusedAndLeftAlone) {
  const cuda::ProductTable other{{}, "NVIDIA H200", cuda::Products::library()};
  std::ofstream(file()) << other.to_text();
  EXPECT_EQ(tune_into(file(), {small_}).status().code(), Code::kUnavailable);
  EXPECT_EQ(text(), other.to_text());
  std::ofstream(file()) << "notes\n";
  EXPECT_EQ(tune_into(file(), {small_}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(text(), "notes\n");
}

}  // namespace
}  // namespace freshet::worker
