#include "worker/model/tabular.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/worker/synthetic.h"

namespace freshet::worker {
namespace {

TabularModel model_of(const TabularShape& shape) {
  auto model = TabularModel::create(shape);
  EXPECT_TRUE(model.is_ok()) << model.status().to_string();
  return std::move(model).value();
}

TEST(Tabular, NamesItsTensors) {
  auto model = model_of(synthetic_shape());
  std::vector<std::string> names;
  size_t at = 0;
  for (const auto& tensor : model.tensors()) {
    names.push_back(tensor.name);
    EXPECT_EQ(tensor.offset, at);
    at += tensor.size;
  }
  EXPECT_EQ(at, model.parameters());
  EXPECT_THAT(names,
              testing::ElementsAre("embedding.from.weight", "embedding.to.weight", "layers.0.weight", "layers.0.bias",
                                   "layers.1.weight", "layers.1.bias", "output.weight", "output.bias"));
  EXPECT_THAT(model.tensors()[2].shape, testing::ElementsAre(48, 15));
}

// The whole model's gradient, by central differences in every tensor.
TEST(Tabular, GradientAgreesWithFiniteDifferences) {
  for (bool binary : {true, false}) {
    auto model = model_of(synthetic_shape(binary));
    auto rows = synthetic_rows(40, binary);
    auto indices = all_rows(rows);
    TabularModel::Workspace workspace(model, 64);
    std::vector<float> parameters(model.parameters()), gradient(model.parameters(), -7), unused(model.parameters());
    model.initialise(3, parameters.data());
    ASSERT_TRUE(model.forward_backward(rows, indices, 0.25F, parameters.data(), gradient.data(), &workspace).is_ok());
    auto loss = [&] {
      auto sum = model.forward_backward(rows, indices, 1, parameters.data(), unused.data(), &workspace);
      EXPECT_TRUE(sum.is_ok());
      return *sum;
    };
    for (const auto& tensor : model.tensors()) {
      for (size_t i = 0; i < tensor.size; i += 1 + tensor.size / 12) {
        float& value = parameters[tensor.offset + i];
        float old = value, step = 0x1p-11F;
        value = old + step;
        double above = loss();
        value = old - step;
        double below = loss();
        value = old;
        double slope = (above - below) / (2 * static_cast<double>(step)) / 4;
        // A loss of about 40, made of floats, is good to about 1e-6 a row; divided by 2^-10. Bends of ReLUs are rarer
        // than this step is wide.
        EXPECT_NEAR(slope, static_cast<double>(gradient[tensor.offset + i]), 1e-2 + 1e-2 * std::fabs(slope))
            << tensor.name << "[" << i << "]";
      }
    }
  }
}

TEST(Tabular, RowsOfAMicroBatchDoNotKnowEachOther) {
  auto model = model_of(synthetic_shape());
  auto rows = synthetic_rows(64);
  auto indices = all_rows(rows);
  TabularModel::Workspace workspace(model, 64);
  std::vector<float> parameters(model.parameters()), forward(64), reversed(64);
  model.initialise(3, parameters.data());
  ASSERT_TRUE(model.forward(rows, indices, parameters.data(), &workspace, forward.data()).is_ok());
  std::reverse(indices.begin(), indices.end());
  ASSERT_TRUE(model.forward(rows, indices, parameters.data(), &workspace, reversed.data()).is_ok());
  std::reverse(reversed.begin(), reversed.end());
  EXPECT_EQ(forward, reversed);
}

TEST(Tabular, InitialWeightsDependOnSeedAndNameAndSurviveGrowth) {
  auto small_shape = synthetic_shape(), large_shape = small_shape;
  large_shape.categorical[0].codes += 9;
  auto small = model_of(small_shape), large = model_of(large_shape);
  std::vector<float> a(small.parameters()), b(large.parameters()), c(small.parameters());
  small.initialise(1, a.data());
  large.initialise(1, b.data());
  small.initialise(2, c.data());
  for (size_t t = 0; t < small.tensors().size(); ++t) {
    const auto& tensor = small.tensors()[t];
    for (size_t i = 0; i < tensor.size; ++i) {
      ASSERT_EQ(a[tensor.offset + i], b[large.tensors()[t].offset + i]) << tensor.name;
    }
    bool bias = tensor.shape.size() == 1;
    EXPECT_EQ(a[tensor.offset] == c[tensor.offset], bias) << tensor.name;
  }
  EXPECT_NE(a[small.tensors()[0].offset], a[small.tensors()[1].offset]);
}

TEST(Tabular, RefusesWhatCannotBeAModel) {
  auto message = [](auto change) {
    auto shape = synthetic_shape();
    change(shape);
    return TabularModel::create(shape).status().message();
  };
  EXPECT_EQ(message([](auto& s) { s.categorical[1].name = "from"; }), "feature from is given twice");
  EXPECT_EQ(message([](auto& s) { s.hidden = {8, 0}; }), "hidden_layers holds a width of 0");
  EXPECT_EQ(message([](auto& s) { s.categorical[0].dim = 0; }), "feature from needs an embedding_dim and a category");
  EXPECT_EQ(message([](auto& s) { s.categorical.clear(), s.numeric = 0; }), "the model has no features");
  EXPECT_THAT(message([](auto& s) { s.hidden = {4'000'000'000, 4'000'000'000}; }), testing::HasSubstr("parameters"));
  EXPECT_EQ(message([](auto& s) { s.hidden.clear(); }), "");
}

TEST(Tabular, RefusesRowsThatDoNotFit) {
  auto model = model_of(synthetic_shape());
  auto message = [&](auto change) {
    auto rows = synthetic_rows(10);
    change(rows);
    return model.check_rows(rows, true).message();
  };
  EXPECT_EQ(message([](auto&) {}), "");
  EXPECT_EQ(message([](auto& r) { r.categorical[1][3] = 7; }), "feature to has a code that its model lacks");
  EXPECT_EQ(message([](auto& r) { r.categorical[1][3] = -1; }), "feature to has a code that its model lacks");
  EXPECT_EQ(message([](auto& r) { r.label.clear(); }), "the rows have no label");
  EXPECT_EQ(message([](auto& r) { r.numeric.pop_back(); }), "the rows have other features than the model");
}

}  // namespace
}  // namespace freshet::worker
