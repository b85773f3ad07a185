// Trains a gpt on a GPU with the product's own loop for bench/gpu/main.py: --prepare writes initial weights and the
// batches that the trainer makes of its tokens, which PyTorch's programs read; --tune the table of products; without
// either each line of the standard input is a number of steps to make, answered with a line of JSON (step_turns.h), or
// "gradient PATH", which writes that of the first batch.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "bench/gpt_options.h"
#include "bench/gpu/step_turns.h"
#include "worker/gpu/device_step.h"
#include "worker/gpu/gpt_device_objective.h"
#include "worker/gpu/gpt_device_products.h"
#include "worker/model/gpt.h"
#include "worker/train/permutation.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

struct Options : GptOptions {
  GptDeviceOptions device;
  std::string products, tune;
  bool snapshots = false, safe = false;

  GptDeviceShape shape() const { return {training.micro_batch_rows, length}; }  // of a micro-batch
};

// A million of the model's initial values again and again, where nothing is compared: making two billion takes long.
std::vector<float> repeated_weights(const GptModel& model) {
  constexpr size_t kPattern = size_t{1} << 20;
  std::vector<float> weights(model.parameters()), pattern(std::min(kPattern, model.parameters()));
  Philox philox(1, stream_of("gpt_train"));
  for (size_t i = 0; i < pattern.size(); ++i) {
    // Three uniform numbers make a nearly normal one; its deviation is 0.02.
    const double sum = philox.uniform(3 * i) + philox.uniform(3 * i + 1) + philox.uniform(3 * i + 2);
    pattern[i] = static_cast<float>(0.04 * (sum - 1.5));
  }
  for (const auto& tensor : model.tensors()) {
    float* const to = weights.data() + tensor.offset;
    if (tensor.shape.size() == 1) {
      std::fill_n(to, tensor.size, tensor.name.ends_with(".bias") ? 0.0F : 1.0F);
      continue;
    }
    for (size_t done = 0; done < tensor.size; done += pattern.size()) {
      std::copy_n(pattern.begin(), std::min(pattern.size(), tensor.size - done), to + done);
    }
  }
  return weights;
}

Result<std::vector<float>> initial_weights(const Options& options, const GptModel& model) {
  return options.weights.empty() ? repeated_weights(model) : read_tensors(options.weights, model.tensors());
}

Status tune(const Options& options, const GptModel& model) {
  ASSIGN_OR_RETURN(const auto plan, plan_gpt_device(model.config(), options.shape(), options.device));
  ASSIGN_OR_RETURN(const auto table, cuda::tune_products(gpt_device_products(model.config(), plan), !options.safe));
  const std::string text = table.to_text();
  return write_bytes(options.tune, text.data(), text.size());
}

// Of the mean loss over the first batch, which is one micro-batch.
Status write_gradient(const std::string& path, const Options& options, const GptModel& model,
                      const std::vector<float>& weights, GptDeviceObjective* objective) {
  if (options.training.micro_batches != 1) return invalid_argument("a gradient needs --micro_batches 1");
  const Permutation order(objective->examples(), options.training.seed, 0);
  std::vector<uint32_t> examples(options.batch);
  for (size_t i = 0; i < examples.size(); ++i) examples[i] = static_cast<uint32_t>(order.at(i));
  ASSIGN_OR_RETURN(auto stream, cuda::Stream::create());
  ASSIGN_OR_RETURN(auto host, cuda::PinnedMemory::allocate(objective->input_bytes()));
  ASSIGN_OR_RETURN(auto input, cuda::DeviceMemory::allocate(objective->input_bytes()));
  ASSIGN_OR_RETURN(auto rounded, cuda::DeviceMemory::allocate(weights.size() * sizeof(kernels::Bfloat16)));
  ASSIGN_OR_RETURN(auto gradient, cuda::DeviceMemory::allocate(weights.size() * sizeof(float)));
  ASSIGN_OR_RETURN(auto loss, cuda::DeviceMemory::allocate(sizeof(double)));
  std::vector<kernels::Bfloat16> narrow(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) narrow[i] = kernels::to_bfloat16(weights[i]);
  RETURN_IF_ERROR(objective->fill_input({examples, 1, 0}, 1.0F / static_cast<float>(options.batch), host.data()));
  RETURN_IF_ERROR(cuda::copy_to_device(input.data(), host.data(), host.bytes(), stream.get()));
  RETURN_IF_ERROR(cuda::copy_to_device(rounded.data(), narrow.data(), rounded.bytes(), stream.get()));
  RETURN_IF_ERROR(objective->begin_step(rounded.data<kernels::Bfloat16>(), {}, &stream));
  RETURN_IF_ERROR(objective->forward_backward(input.data(), rounded.data<kernels::Bfloat16>(), gradient.data<float>(),
                                              loss.data<double>(), &stream, [](size_t) { return Status::ok(); }));
  std::vector<float> values(weights.size());
  RETURN_IF_ERROR(cuda::copy_to_host(values.data(), gradient.data(), gradient.bytes(), stream.get()));
  RETURN_IF_ERROR(stream.synchronize());
  RETURN_IF_ERROR(write_tensors(path, model.tensors(), values.data()));
  std::cout << "{\"gradient\": true}" << std::endl;
  return Status::ok();
}

Status serve(const Options& options, const GptModel& model) {
  if (cuda::device_count() == 0) return unavailable("there is no CUDA device");
  RETURN_IF_ERROR(cuda::use_device(0));
  ASSIGN_OR_RETURN(const size_t free_bytes, cuda::free_device_bytes());
  cuda::ProductTable products;
  if (!options.products.empty()) {
    ASSIGN_OR_RETURN(const std::string text, read_file(options.products));
    ASSIGN_OR_RETURN(products, cuda::ProductTable::of_text(text));
  }
  ASSIGN_OR_RETURN(const auto weights, initial_weights(options, model));
  const auto tokens = options.tokens();
  ASSIGN_OR_RETURN(auto objective, GptDeviceObjective::create(model, tokens, options.shape(), options.training.seed,
                                                              options.device, products));
  SingleCommunicator comm;
  SingleDeviceCommunicator devices;
  ASSIGN_OR_RETURN(auto engine, DeviceStep::create(objective.get(), options.training, {&comm, &devices}, weights));
  auto other = [&](const std::string& line) -> Status {
    const std::string command = "gradient ";
    if (!line.starts_with(command)) return invalid_argument("what is \"" + line + "\"?");
    return write_gradient(line.substr(command.size()), options, model, weights, objective.get());
  };
  auto turns = std::make_unique<StepTurns>(std::move(engine), options.snapshots, free_bytes, other);
  ASSIGN_OR_RETURN(auto trainer, Trainer::create(std::move(turns), options.training, &comm));
  std::cout << "{\"version\": \"" << FRESHET_VERSION << "\"}" << std::endl;
  const Status status = trainer.run([](const StepResult&) { return Status::ok(); });
  return status.code() == Code::kCancelled ? Status::ok() : status;
}

Status run(Options options) {
  RETURN_IF_ERROR(options.complete());
  if (options.safe) {
    options.device.attention_version = 1;
    options.device.weights_beside = false;
  }
  ASSIGN_OR_RETURN(auto model, GptModel::create(options.model));
  if (options.prepare) return write_gpt_files(options, model);
  return options.tune.empty() ? serve(options, model) : tune(options, model);
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) {
  CLI::App app("Trains a gpt of GPT-2's style on a GPU for bench/gpu/run.");
  freshet::worker::Options options;
  options.training.epochs = 1000;  // it ends when no more steps are asked for
  options.steps = 16;
  options.add_to(&app);
  app.add_option("--tune", options.tune, "write the table of products instead of training");
  app.add_option("--products", options.products, "the table of products; without it the library's first proposals");
  app.add_option("--recompute", options.device.recompute, "0: nothing, 1: activations, 2: norms too, 3: layers");
  app.add_flag("--float8", options.device.float8, "products of layers in 8-bit floats");
  app.add_flag("--safe", options.safe, "attention for any GPU, products of the library's, one stream");
  app.add_flag("--snapshot", options.snapshots, "copy the training's state to the host after every step");
  CLI11_PARSE(app, argc, argv);
  freshet::Status status = freshet::worker::run(options);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "gpt_train_gpu: %s\n", status.message().c_str());
  return 1;
}
