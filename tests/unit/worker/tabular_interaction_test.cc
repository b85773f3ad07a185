// Tabular models beyond a plain perceptron: bags of values, weights, classes, and features that act on each other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/worker/recommender.h"
#include "worker/model/tabular.h"

namespace freshet::worker {
namespace {

using testing::HasSubstr;
using Interaction = TabularShape::Interaction;

TabularModel model_of(const TabularShape& shape) {
  auto model = TabularModel::create(shape);
  EXPECT_TRUE(model.is_ok()) << model.status().to_string();
  return std::move(model).value();
}

// The whole model's gradient, by central differences in every tensor.
TEST(TabularInteraction, GradientsAgreeWithFiniteDifferences) {
  for (const auto& [name, shape] : recommender_shapes()) {
    SCOPED_TRACE(name);
    auto model = model_of(shape);
    auto rows = recommender_rows(shape, 30);
    ASSERT_TRUE(model.check_rows(rows, true).is_ok());
    auto indices = all_rows(rows);
    TabularModel::Workspace workspace(model, 32);
    std::vector<float> parameters(model.parameters()), gradient(model.parameters(), -7), unused(model.parameters());
    model.initialise(4, parameters.data());
    // Larger than they start, so that what depends on them is more than rounding.
    for (size_t i = 0; i < model.dense_begin(); ++i) parameters[i] *= 8;
    // Biases too: a row without a value would else stand exactly on the bend of every ReLU.
    for (const auto& tensor : model.tensors()) {
      for (size_t i = 0; i < tensor.size && tensor.shape.size() == 1; ++i) {
        parameters[tensor.offset + i] = i % 2 == 0 ? 0.1F : -0.2F;
      }
    }
    ASSERT_TRUE(model.forward_backward(rows, indices, 0.25F, parameters.data(), gradient.data(), &workspace).is_ok());
    auto loss = [&] {
      auto sum = model.forward_backward(rows, indices, 1, parameters.data(), unused.data(), &workspace);
      EXPECT_TRUE(sum.is_ok());
      return *sum;
    };
    const double here = loss();
    int compared = 0, bends = 0;
    for (const auto& tensor : model.tensors()) {
      double largest = 0;
      for (size_t i = 0; i < tensor.size; i += 1 + tensor.size / 12) {
        float& value = parameters[tensor.offset + i];
        float old = value, step = 0x1p-11F;
        value = old + step;
        double above = loss();
        value = old - step;
        double below = loss();
        value = old;
        double slope = (above - below) / (2 * static_cast<double>(step)) / 4;
        largest = std::max(largest, std::fabs(slope));
        // A loss of about 40, made of floats, is good to about 1e-6 a row; divided by 2^-10. Where the slopes to both
        // sides differ by more, a ReLU bends.
        ++compared;
        if (std::fabs(above - here - (here - below)) / static_cast<double>(step) / 4 > 2e-2) {
          ++bends;
          continue;
        }
        EXPECT_NEAR(slope, static_cast<double>(gradient[tensor.offset + i]), 1e-2 + 1e-2 * std::fabs(slope))
            << tensor.name << "[" << i << "]";
      }
      EXPECT_GT(largest, 0.02) << tensor.name << ": the test does not see it";
    }
    EXPECT_LT(bends, compared / 10);
  }
}

TEST(TabularInteraction, NamesItsTensors) {
  auto names = [](const TabularShape& shape) {
    const TabularModel model = model_of(shape);
    std::vector<std::string> all;
    for (const auto& tensor : model.tensors()) all.push_back(tensor.name);
    return all;
  };
  auto shape = recommender_shapes().at("cross of full rank");
  EXPECT_THAT(names(shape), testing::ElementsAre("embedding.user.weight", "embedding.tags.weight", "cross.0.weight",
                                                 "cross.0.bias", "cross.1.weight", "cross.1.bias", "layers.0.weight",
                                                 "layers.0.bias", "output.weight", "output.bias"));
  shape = recommender_shapes().at("dot with numeric features");
  EXPECT_THAT(names(shape), testing::ElementsAre("embedding.user.weight", "embedding.tags.weight", "numeric.0.weight",
                                                 "numeric.0.bias", "numeric.1.weight", "numeric.1.bias",
                                                 "layers.0.weight", "layers.0.bias", "output.weight", "output.bias"));
}

// A row of weight 2 is two rows; one of weight 0 is none.
TEST(TabularInteraction, WeightsCountRows) {
  for (uint32_t classes : {0U, 3U}) {
    auto shape = recommender_shapes().at("cross of full rank");
    shape.classes = classes;
    auto model = model_of(shape);
    auto rows = recommender_rows(shape, 3);
    std::vector<float> parameters(model.parameters()), weighted(model.parameters()), repeated(model.parameters());
    model.initialise(3, parameters.data());
    TabularModel::Workspace workspace(model, 4);
    rows.weight = {1, 2, 0};
    std::vector<uint32_t> once = {0, 1, 2}, twice = {0, 1, 1};
    auto a = model.forward_backward(rows, once, 1, parameters.data(), weighted.data(), &workspace);
    rows.weight.clear();
    auto b = model.forward_backward(rows, twice, 1, parameters.data(), repeated.data(), &workspace);
    ASSERT_TRUE(a.is_ok() && b.is_ok());
    EXPECT_NEAR(*a, *b, 1e-5);
    for (size_t i = 0; i < weighted.size(); ++i) ASSERT_NEAR(weighted[i], repeated[i], 1e-5) << i;
  }
}

// What a row says does not depend on how its micro-batch came together, nor on whether rows were packed before.
TEST(TabularInteraction, PackedRowsAreTheRows) {
  for (const auto& [name, shape] : recommender_shapes()) {
    SCOPED_TRACE(name);
    auto model = model_of(shape);
    auto rows = recommender_rows(shape, 50);
    rows.weight.assign(50, 3);  // alike: none counts more than another
    std::vector<uint32_t> indices = {49, 3, 3, 17, 0, 21, 8};
    std::vector<float> parameters(model.parameters()), expected(model.parameters()), gradient(model.parameters());
    model.initialise(3, parameters.data());
    TabularModel::Workspace workspace(model, 8);
    PackedRows packed(shape, rows);
    rows.weight.clear();
    auto sum = model.forward_backward(rows, indices, 1, parameters.data(), expected.data(), &workspace);
    ASSERT_TRUE(sum.is_ok());
    TabularBuffer buffer(shape, 8);
    packed.begin(indices.size(), &buffer);
    packed.gather(std::span(indices).subspan(0, 3), 0, &buffer);
    packed.gather(std::span(indices).subspan(3), 3, &buffer);
    for (size_t feature : packed.multi_valued()) packed.gather_bags(feature, indices, &buffer);
    auto again = model.forward_backward(buffer.batch(0, 7), 1, parameters.data(), gradient.data(), &workspace);
    ASSERT_TRUE(again.is_ok());
    EXPECT_NEAR(*again, *sum, 1e-5);  // the sum of rows with weights is made of rounded losses
    EXPECT_EQ(gradient, expected);
    // The last four as a batch of their own.
    auto part = model.forward_backward(buffer.batch(3, 4), 1, parameters.data(), gradient.data(), &workspace);
    auto part_expected =
        model.forward_backward(rows, std::span(indices).subspan(3), 1, parameters.data(), expected.data(), &workspace);
    ASSERT_TRUE(part.is_ok() && part_expected.is_ok());
    EXPECT_NEAR(*part, *part_expected, 1e-5);
    EXPECT_EQ(gradient, expected);
  }
}

TEST(TabularInteraction, RefusesWhatCannotBeAModel) {
  auto message = [](const char* name, auto change) {
    auto shape = recommender_shapes().at(name);
    change(shape);
    return TabularModel::create(shape).status().message();
  };
  const char* dot = "dot with numeric features";
  EXPECT_EQ(message(dot, [](auto&) {}), "");
  EXPECT_THAT(message(dot, [](auto& s) { s.categorical[1].dim = 5; }), HasSubstr("feature tags has 5, not 8"));
  EXPECT_THAT(message(dot, [](auto& s) { s.numeric_layers = {8, 7}; }), HasSubstr("end with the embeddings' width, 8"));
  EXPECT_THAT(message(dot, [](auto& s) { s.numeric_layers.clear(); }), HasSubstr("end with the embeddings' width, 8"));
  EXPECT_THAT(message(dot, [](auto& s) { s.categorical.clear(); }), HasSubstr("needs categorical features"));
  EXPECT_THAT(message(dot, [](auto& s) { s.numeric = 0; }), HasSubstr("there are none"));
  EXPECT_THAT(message("dot of embeddings alone", [](auto& s) { s.categorical.pop_back(); }),
              HasSubstr("two features or more"));
  EXPECT_THAT(message("cross of full rank", [](auto& s) { s.cross_layers = 0; }), HasSubstr("needs cross_layers"));
}

TEST(TabularInteraction, RefusesRowsThatDoNotFit) {
  auto shape = recommender_shapes().at("classes");
  auto model = model_of(shape);
  auto message = [&](auto change) {
    auto rows = recommender_rows(shape, 10);
    change(rows);
    return model.check_rows(rows, true).message();
  };
  EXPECT_EQ(message([](auto&) {}), "");
  EXPECT_EQ(message([](auto& r) { r.label[3] = 3; }), "a row is of a class that its model lacks");
  EXPECT_EQ(message([](auto& r) { r.label[3] = -1; }), "a row is of a class that its model lacks");
  EXPECT_EQ(message([](auto& r) { r.ends.clear(); }), "a multi-valued feature has another number of rows");
  EXPECT_EQ(message([](auto& r) { r.ends[1][9] += 1; }), "a categorical feature has another number of rows");
  EXPECT_EQ(message([](auto& r) { std::swap(r.ends[1][2], r.ends[1][8]); }),
            "a multi-valued feature has another number of rows");
  EXPECT_EQ(message([](auto& r) { r.weight = {1}; }), "there is another number of weights");
}

}  // namespace
}  // namespace freshet::worker
