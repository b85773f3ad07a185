#include "worker/gpu/gpt_device.h"

#include <gmock/gmock.h>

#include "tests/unit/worker_gpu/gpt_device_support.h"
#include "worker/gpu/gpt_device_products.h"

namespace freshet::worker {
namespace {

constexpr GptDeviceShape kShape{2, 35};
constexpr uint64_t kSeed = 3, kStep = 4, kFirstSequence = 6;

class GptDeviceTest : public cuda::CudaTest {
 protected:
  GptDeviceInput input(const GptModel& model, const SomeTokens& tokens, float scale) {
    std::vector<int32_t> run_list(cuda::token_runs_size(tokens.shape.rows()));
    cuda::token_runs(tokens.tokens, model.config().vocabulary, run_list);
    std::vector<cuda::DropoutPlace> places;
    for (size_t site = 0; site < gpt_dropout_sites(model.config()); ++site) {
      places.push_back({gpt_dropout_stream(model.config(), kStep, site),
                        kFirstSequence * tokens.shape.length * model.config().width});
    }
    tokens_.emplace(tokens.tokens);
    targets_.emplace(tokens.targets);
    runs_.emplace(run_list);
    scale_.emplace(std::vector<float>{scale});
    places_.emplace(places);
    return {tokens_->data(), targets_->data(), runs_->data(), scale_->data(), places_->data(), kSeed};
  }

  GptPassResult forward_backward(const GptModel& model, const SomeTokens& tokens, const std::vector<float>& weights,
                                 const GptDeviceOptions& options = {}, float scale = 1) {
    auto device = GptDevice::create(model, tokens.shape, options);
    CHECK_MSG(device.is_ok(), device.status().to_string());
    EXPECT_EQ(device->bytes(), device->plan().bytes);
    Array<kernels::Bfloat16> rounded(cuda::narrowed(weights));
    Array<float> gradient(weights.size());
    Array<double> loss(1);
    EXPECT_OK(device->begin_step(rounded.data(), &*stream_));
    EXPECT_OK(
        device->forward_backward(input(model, tokens, scale), rounded.data(), gradient.data(), loss.data(), &*stream_));
    expect_done();
    return {loss.values()[0], gradient.values()};
  }

  void expect_listed_products(bool float8) {
    auto config = tiny_gpt(Style::kGpt2);
    config.layers = 1;
    config.feed_forward = 208;
    const GptDeviceShape shape{2, 16};
    const auto model = model_of(config);
    const SomeTokens tokens(config, shape);
    const auto weights = weights_of(model);
    GptDeviceOptions options;
    options.float8 = float8;
    options.head_bytes = 16 * 128 * sizeof(kernels::Bfloat16);
    auto plan = plan_gpt_device(config, shape, options);
    ASSERT_TRUE(plan.is_ok()) << plan.status().to_string();
    auto table = cuda::tune_products(gpt_device_products(config, *plan));
    ASSERT_TRUE(table.is_ok()) << table.status().to_string();
    Array<kernels::Bfloat16> rounded(cuda::narrowed(weights));
    Array<float> gradient(weights.size()), logits(shape.sequences * plan->logits_stride);
    Array<double> loss(1);
    auto passes = [&](const cuda::ProductTable& products) {
      auto device = GptDevice::create(model, shape, options, products);
      CHECK_MSG(device.is_ok(), device.status().to_string());
      const auto in = input(model, tokens, 1);
      Status status = device->begin_step(rounded.data(), &*stream_);
      if (status.is_ok()) {
        status = device->forward_backward(in, rounded.data(), gradient.data(), loss.data(), &*stream_);
      }
      if (status.is_ok()) status = device->next_token_logits(in, rounded.data(), logits.data(), &*stream_);
      expect_done();
      return status;
    };
    EXPECT_OK(passes(*table));
    for (size_t i = 0; i < table->entries.size(); ++i) {
      if (float8 && table->entries[i].shape.operands != cuda::Type::kFloat8) continue;  // looked at without
      auto less = *table;
      less.entries.erase(less.entries.begin() + static_cast<ptrdiff_t>(i));
      EXPECT_EQ(passes(less).code(), Code::kNotFound) << i;
    }
  }

  std::optional<Array<int32_t>> tokens_, targets_, runs_;
  std::optional<Array<float>> scale_;
  std::optional<Array<cuda::DropoutPlace>> places_;
};

struct Case {
  Style style;
  bool tied;
  float dropout;
};

class GptDeviceModels : public GptDeviceTest, public testing::WithParamInterface<Case> {
 protected:
  static GptConfig config() {
    auto config = tiny_gpt(GetParam().style);
    config.tied = GetParam().tied;
    config.dropout = GetParam().dropout;
    return config;
  }
};

TEST_P(GptDeviceModels, LossAndGradientsAreThoseOfTheCpu) {
  const auto model = model_of(config());
  const SomeTokens tokens(config(), kShape);
  const auto weights = weights_of(model);
  const float scale = 0.25F;
  const auto pass = forward_backward(model, tokens, weights, {}, scale);
  auto batch = tokens.batch();
  batch.dropout_seed = kSeed;
  batch.dropout_step = kStep;
  batch.first_sequence = kFirstSequence;
  const auto expected = cpu_forward_backward(model, batch, weights, scale);
  EXPECT_NEAR(pass.loss / expected.loss, 1, 2e-3);
  expect_close_gradients(model, pass, expected);
}

TEST_P(GptDeviceModels, GivesTheSameBitsTwiceAndAtEachLevelOfRecomputation) {
  const auto model = model_of(config());
  const SomeTokens tokens(config(), kShape);
  const auto weights = weights_of(model);
  const auto expected = forward_backward(model, tokens, weights);
  for (auto level : {Recompute::kNothing, Recompute::kActivations, Recompute::kNorms, Recompute::kLayers}) {
    SCOPED_TRACE(static_cast<int>(level));
    const auto pass = forward_backward(model, tokens, weights, {level});
    EXPECT_EQ(pass.loss, expected.loss);
    for (const auto& tensor : model.tensors()) {
      const std::vector<float> gradient(pass.gradient.begin() + tensor.offset,
                                        pass.gradient.begin() + tensor.offset + tensor.size);
      const std::vector<float> same(expected.gradient.begin() + tensor.offset,
                                    expected.gradient.begin() + tensor.offset + tensor.size);
      // The product's epilogue may see what it activates before that is rounded; made again, it was rounded.
      const bool rounds_twice = (level == Recompute::kActivations || level == Recompute::kNorms) &&
                                tensor.name.ends_with("mlp.c_proj.weight");
      if (rounds_twice) {
        EXPECT_LT(relative_error(gradient.data(), same.data(), tensor.size), 2 * cuda::kRounding16) << tensor.name;
      } else {
        EXPECT_EQ(gradient, same) << tensor.name;
      }
    }
  }
}

TEST_P(GptDeviceModels, GivesTheSameBitsOnOneStream) {
  const auto model = model_of(config());
  const SomeTokens tokens(config(), kShape);
  const auto weights = weights_of(model);
  const auto two = forward_backward(model, tokens, weights),
             one = forward_backward(model, tokens, weights, {.weights_beside = false});
  EXPECT_EQ(one.loss, two.loss);
  EXPECT_EQ(one.gradient, two.gradient);
}

INSTANTIATE_TEST_SUITE_P(Models, GptDeviceModels,
                         testing::Values(Case{Style::kGpt2, true, 0}, Case{Style::kGpt2, true, 0.2F},
                                         Case{Style::kLlama, false, 0}, Case{Style::kLlama, true, 0.2F}),
                         [](const auto& test) {
                           return std::string(test.param.style == Style::kGpt2 ? "Gpt2" : "Llama") +
                                  (test.param.tied ? "Tied" : "Untied") + (test.param.dropout > 0 ? "Dropout" : "");
                         });

// Chunks of the head: the last is short.
TEST_F(GptDeviceTest, ChunksOfTheHeadAddUp) {
  const auto config = tiny_gpt(Style::kGpt2);
  const auto model = model_of(config);
  const SomeTokens tokens(config, kShape);
  const auto weights = weights_of(model);
  GptDeviceOptions options;
  options.head_bytes = 32 * 128 * sizeof(kernels::Bfloat16);
  auto plan = plan_gpt_device(config, kShape, options);
  ASSERT_TRUE(plan.is_ok());
  EXPECT_EQ(plan->head_rows, 32U);
  const auto pass = forward_backward(model, tokens, weights, options);
  const auto whole = forward_backward(model, tokens, weights);
  EXPECT_EQ(pass.loss, whole.loss);
  expect_close_gradients(model, pass, cpu_forward_backward(model, tokens.batch(), weights));
}

TEST_F(GptDeviceTest, TakesTheVersionOfAttentionThatIsWanted) {
  const auto config = tiny_gpt(Style::kGpt2);
  const auto model = model_of(config);
  const SomeTokens tokens(config, kShape);
  const auto weights = weights_of(model);
  GptDeviceOptions options;
  options.attention_version = 1;
  const auto first = forward_backward(model, tokens, weights, options);
  expect_close_gradients(model, first, cpu_forward_backward(model, tokens.batch(), weights));

  options.attention_version = cuda::kAttentionVersions + 1;
  auto device = GptDevice::create(model, kShape, options);
  ASSERT_TRUE(device.is_ok()) << device.status().to_string();
  Array<kernels::Bfloat16> rounded(cuda::narrowed(weights));
  Array<double> losses(kShape.sequences);
  const Status status = device->losses(input(model, tokens, 1), rounded.data(), losses.data(), &*stream_);
  EXPECT_NE(status.message().find("attention has no version"), std::string::npos) << status.to_string();
  expect_done();
}

TEST_F(GptDeviceTest, TakesHeadsOf128AndOneTokenAndAWholeContext) {
  auto config = tiny_gpt(Style::kLlama);
  config.layers = 1;
  config.width = 256;
  config.feed_forward = 72;
  config.context = 17;
  const auto model = model_of(config);
  const auto weights = weights_of(model);
  for (GptDeviceShape shape : {GptDeviceShape{3, 1}, GptDeviceShape{1, 17}}) {
    SomeTokens tokens(config, shape);
    tokens.targets[0] = 5;
    const auto pass = forward_backward(model, tokens, weights);
    const auto expected = cpu_forward_backward(model, tokens.batch(), weights);
    EXPECT_NEAR(pass.loss / expected.loss, 1, 2e-3);
    for (const auto& tensor : model.tensors()) {
      // A softmax over one token has no gradient.
      const bool is_zero =
          shape.length == 1 && (tensor.name.ends_with("q_proj.weight") || tensor.name.ends_with("k_proj.weight"));
      const float* gradient = pass.gradient.data() + tensor.offset;
      if (is_zero) {
        for (size_t i = 0; i < tensor.size; ++i) ASSERT_NEAR(gradient[i], 0, 1e-2) << tensor.name;
      } else {
        EXPECT_LT(relative_error(gradient, expected.gradient.data() + tensor.offset, tensor.size),
                  gradient_tolerance(config))
            << tensor.name;
      }
    }
  }
}

TEST_F(GptDeviceTest, LossAndLogitsWithoutAGradient) {
  for (auto style : {Style::kGpt2, Style::kLlama}) {
    auto config = tiny_gpt(style);
    const auto plain = model_of(config);
    config.dropout = 0.3F;
    const auto model = model_of(config);
    const SomeTokens tokens(config, kShape);
    const auto weights = weights_of(model);
    const auto pass = forward_backward(plain, tokens, weights);

    ThreadPool pool(1);
    GptModel::Workspace workspace(model, kShape.rows(), false);
    std::vector<float> expected(kShape.sequences * config.vocabulary);
    ASSERT_TRUE(model.next_token_logits(tokens.batch(), {weights.data()}, expected.data(), &pool, &workspace).is_ok());
    Array<kernels::Bfloat16> rounded(cuda::narrowed(weights));
    for (bool training : {true, false}) {
      auto device = GptDevice::create(model, kShape, {.training = training});
      ASSERT_TRUE(device.is_ok());
      Array<double> losses(kShape.sequences);
      const size_t stride = device->plan().logits_stride;
      Array<float> logits(kShape.sequences * stride);
      const auto in = input(model, tokens, 1);
      EXPECT_OK(device->losses(in, rounded.data(), losses.data(), &*stream_));
      EXPECT_OK(device->next_token_logits(in, rounded.data(), logits.data(), &*stream_));
      expect_done();
      // The same losses of tokens, added up in another order.
      const auto sums = losses.values();
      EXPECT_NEAR((sums[0] + sums[1]) / pass.loss, 1, 1e-12);
      EXPECT_GT(std::min(sums[0], sums[1]), pass.loss / 3);
      const auto values = logits.values();
      for (size_t s = 0; s < kShape.sequences; ++s) {
        EXPECT_LT(
            relative_error(values.data() + s * stride, expected.data() + s * config.vocabulary, config.vocabulary),
            gradient_tolerance(config));
      }
    }
  }
}

// A rounding to e4m3 is off by at most 2^-4, and by 0.41 of that in the mean square. A product has two operands, and a
// gradient goes through four products in each layer, forward and back; what is not linear makes their errors larger, by
// no more than two as in gradient_tolerance().
TEST_F(GptDeviceTest, ProductsIn8BitsStayClose) {
  for (auto style : {Style::kGpt2, Style::kLlama}) {
    auto config = tiny_gpt(style);
    config.feed_forward = 208;
    const auto model = model_of(config);
    const SomeTokens tokens(config, {2, 24});
    const auto weights = weights_of(model);
    const auto pass = forward_backward(model, tokens, weights, {.float8 = true});
    const auto again = forward_backward(model, tokens, weights, {.recompute = Recompute::kLayers, .float8 = true});
    EXPECT_EQ(pass.loss, again.loss);
    EXPECT_EQ(pass.gradient, again.gradient);
    const auto expected = cpu_forward_backward(model, tokens.batch(), weights);
    EXPECT_NEAR(pass.loss / expected.loss, 1, 0.03);
    for (const auto& tensor : model.tensors()) {
      const double error =
          relative_error(pass.gradient.data() + tensor.offset, expected.gradient.data() + tensor.offset, tensor.size);
      EXPECT_LT(error, 2 * 0.41 * 0x1p-4 * std::sqrt(2 * 2 * 4.0 * config.layers)) << tensor.name;
      EXPECT_GT(error, 0x1p-8) << tensor.name << " was not computed in 8 bits";
    }
  }
}

// Weights that are 16 times those of the step before are held within what the scales cover. What they do to the values
// behind them is seen product by product, of which there are eight one behind the other.
TEST_F(GptDeviceTest, AJumpIsHeldAndThenFollowed) {
  auto config = tiny_gpt(Style::kLlama);
  config.layers = 1;
  config.feed_forward = 208;
  const GptDeviceShape shape{2, 16};
  const auto model = model_of(config);
  const SomeTokens tokens(config, shape);
  const auto weights = weights_of(model);
  auto smaller = weights;
  for (float& weight : smaller) weight /= 16;
  Array<kernels::Bfloat16> small(cuda::narrowed(smaller)), large(cuda::narrowed(weights));
  auto device = GptDevice::create(model, shape, {.float8 = true});
  ASSERT_TRUE(device.is_ok()) << device.status().to_string();
  const auto in = input(model, tokens, 1);
  Array<float> gradient(weights.size());
  Array<double> loss(1);
  Array<int32_t> is_applied(std::vector<int32_t>{1});
  std::vector<double> losses;
  for (int step = 0; step < 10; ++step) {
    const auto* now = step == 0 ? &small : &large;
    EXPECT_OK(device->begin_step(now->data(), &*stream_));
    EXPECT_OK(device->forward_backward(in, now->data(), gradient.data(), loss.data(), &*stream_));
    EXPECT_OK(device->end_step(1, device->float8_scales().data(), is_applied.data(), &*stream_));
    expect_done();
    losses.push_back(loss.values()[0]);
    for (float value : gradient.values()) ASSERT_TRUE(std::isfinite(value));
  }
  const auto expected = cpu_forward_backward(model, tokens.batch(), weights);
  EXPECT_GT(std::fabs(losses[1] / expected.loss - 1), 0.03) << "nothing was beyond a scale";
  EXPECT_NEAR(losses.back() / expected.loss, 1, 0.03);
}

TEST_F(GptDeviceTest, RunsTheProductsThatItLists) {
  for (bool float8 : {false, true}) expect_listed_products(float8);
}

// What is queued by then writes the part; what is queued behind that does not touch it any more.
TEST_F(GptDeviceTest, TellsWhenAPartOfTheGradientIsReady) {
  for (bool tied : {true, false}) {
    auto config = tiny_gpt(Style::kLlama);
    config.tied = tied;
    const auto model = model_of(config);
    const SomeTokens tokens(config, kShape);
    const auto weights = weights_of(model);
    auto device = GptDevice::create(model, kShape, {});
    ASSERT_TRUE(device.is_ok());
    const auto parts = device->gradient_parts();
    ASSERT_EQ(parts.size(), 4U);
    EXPECT_TRUE(std::is_sorted(parts.begin(), parts.end()));
    Array<kernels::Bfloat16> rounded(cuda::narrowed(weights));
    Array<float> gradient(weights.size()), copies(parts.size() * weights.size());
    Array<double> loss(1);
    size_t next = parts.size();
    EXPECT_OK(device->forward_backward(
        input(model, tokens, 1), rounded.data(), gradient.data(), loss.data(), &*stream_, [&](size_t part) {
          EXPECT_EQ(part, --next);
          return cuda::copy_on_device(copies.data() + part * weights.size() + parts[part],
                                      gradient.data() + parts[part], (weights.size() - parts[part]) * sizeof(float),
                                      stream());
        }));
    expect_done();
    EXPECT_EQ(next, 0U);
    const auto whole = gradient.values(), then = copies.values();
    for (size_t part = 0; part < parts.size(); ++part) {
      const auto from = then.begin() + static_cast<ptrdiff_t>(part * weights.size() + parts[part]);
      EXPECT_TRUE(std::equal(whole.begin() + static_cast<ptrdiff_t>(parts[part]), whole.end(), from)) << part;
    }
  }
}

TEST_F(GptDeviceTest, CanBeRecordedAsAGraph) {
  const auto config = tiny_gpt(Style::kLlama);
  const auto model = model_of(config);
  const SomeTokens tokens(config, kShape);
  const auto weights = weights_of(model);
  const auto expected = forward_backward(model, tokens, weights);
  Array<kernels::Bfloat16> rounded(cuda::narrowed(weights));
  std::vector<size_t> nodes;
  for (bool weights_beside : {true, false}) {
    auto device = GptDevice::create(model, kShape, {.weights_beside = weights_beside});
    ASSERT_TRUE(device.is_ok());
    Array<float> gradient(weights.size());
    Array<double> loss(1);
    const auto in = input(model, tokens, 1);
    auto graph = cuda::Graph::capture(*stream_, [&] {
      return device->forward_backward(in, rounded.data(), gradient.data(), loss.data(), &*stream_);
    });
    ASSERT_TRUE(graph.is_ok()) << graph.status().to_string();
    nodes.push_back(graph->nodes());
    for (int launch = 0; launch < 2; ++launch) {
      EXPECT_OK(graph->launch(stream()));
      expect_done();
      EXPECT_EQ(loss.values()[0], expected.loss);
      EXPECT_EQ(gradient.values(), expected.gradient);
    }
  }
  EXPECT_EQ(nodes[0], nodes[1]) << "some work is not in the graph";
}

}  // namespace
}  // namespace freshet::worker
