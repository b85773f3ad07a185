// The losses of a training on a device beside those of the CPU.
#include "tests/unit/worker_gpu/gpt_device_support.h"
#include "worker/gpu/device_step.h"
#include "worker/gpu/gpt_device_objective.h"
#include "worker/train/gpt_objective.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

constexpr GptDeviceShape kShape{2, 16};
constexpr size_t kSteps = 10;

GptConfig config_of(Style style) {
  auto config = tiny_gpt(style);
  config.layers = 1;
  config.dropout = 0.1F;
  return config;
}

TrainOptions options(double learning_rate = 3e-3) {
  TrainOptions options;
  options.seed = 5;
  options.micro_batch_rows = kShape.sequences;
  options.micro_batches = 2;
  options.learning_rate = learning_rate;
  options.weight_decay = 0.1;
  options.beta2 = 0.95;
  options.clip_norm = 1;
  return options;
}

// One pass of ten steps; the last micro-batch of the last of them has one example. Each token follows from the one
// before it, so that there is something to learn.
std::vector<Token> text() {
  const size_t examples = options().batch_rows() * kSteps - 1;
  std::vector<Token> text;
  for (size_t i = 0; i <= examples * kShape.length; ++i) text.push_back(static_cast<Token>(i * i * 7 % 23));
  return text;
}

struct GptTraining {
  std::vector<double> losses;

  Status run(Result<Trainer> trainer) {
    RETURN_IF_ERROR(trainer.status());
    return trainer->run([this](const StepResult& step) {
      losses.push_back(step.loss);
      return Status::ok();
    });
  }
};

std::vector<float> start_of(const GptModel& model) {
  std::vector<float> weights(model.parameters());
  model.initialise(1, weights.data());
  return weights;
}

Status train_on_device(const GptModel& model, const TrainOptions& options, const GptDeviceOptions& on_device,
                       GptTraining* training) {
  const auto tokens = text();
  SingleCommunicator alone;
  SingleDeviceCommunicator device;
  ASSIGN_OR_RETURN(auto objective, GptDeviceObjective::create(model, tokens, kShape, options.seed, on_device));
  ASSIGN_OR_RETURN(auto engine, DeviceStep::create(objective.get(), options, {&alone, &device}, start_of(model)));
  return training->run(Trainer::create(std::move(engine), options, &alone));
}

Status train_on_cpu(const GptModel& model, GptTraining* training) {
  const auto tokens = text();
  ThreadPool pool(1);
  SingleCommunicator alone;
  ASSIGN_OR_RETURN(auto objective,
                   GptObjective::create(model, tokens, kShape.length, kShape.sequences, options().seed, 1));
  return training->run(Trainer::create(&objective, options(), &alone, &pool, start_of(model)));
}

class GptDeviceLosses : public cuda::CudaTest {};

TEST_F(GptDeviceLosses, TenLossesAreThoseOfTheCpu) {
  for (auto style : {Style::kGpt2, Style::kLlama}) {
    const auto model = model_of(config_of(style));
    GptTraining device, cpu;
    EXPECT_OK(train_on_device(model, options(), {}, &device));
    EXPECT_OK(train_on_cpu(model, &cpu));
    ASSERT_EQ(device.losses.size(), kSteps);
    ASSERT_EQ(cpu.losses.size(), kSteps);
    for (size_t step = 0; step < kSteps; ++step) {
      EXPECT_NEAR(device.losses[step] / cpu.losses[step], 1, 0.01) << "step " << step + 1;
    }
    EXPECT_LT(device.losses.back(), 0.9 * device.losses.front());
  }
}

// Steps of the other test's size are so large for batches of 64 tokens that the losses part by per cents, either way.
TEST_F(GptDeviceLosses, TenLossesIn8BitsAreThoseOfBfloat16) {
  auto config = config_of(Style::kGpt2);
  config.feed_forward = 208;
  const auto model = model_of(config);
  GptTraining narrow, wide;
  EXPECT_OK(train_on_device(model, options(1e-3), {.float8 = true}, &narrow));
  EXPECT_OK(train_on_device(model, options(1e-3), {}, &wide));
  ASSERT_EQ(narrow.losses.size(), kSteps);
  for (size_t step = 0; step < kSteps; ++step) {
    EXPECT_NEAR(narrow.losses[step] / wide.losses[step], 1, 0.005) << "step " << step + 1;
  }
  EXPECT_NE(narrow.losses.back(), wide.losses.back());
}

}  // namespace
}  // namespace freshet::worker
