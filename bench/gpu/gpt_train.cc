// Trains a gpt on a GPU with the product's own loop for bench/gpu/main.py: --prepare writes initial weights and the
// batches that the trainer makes of its tokens, which PyTorch's programs read; --tune the table of products; without
// either each line of the standard input is a number of steps to make, answered with a line of JSON (step_turns.h), or
// "gradient PATH", which writes that of the first batch.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "bench/gpu/step_turns.h"
#include "tests/support/gpt_corpus.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/weights.h"
#include "worker/gpu/device_step.h"
#include "worker/gpu/gpt_device_objective.h"
#include "worker/gpu/gpt_device_products.h"
#include "worker/model/gpt.h"
#include "worker/train/permutation.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

struct Options {
  GptConfig model;
  TrainOptions training;
  GptDeviceShape shape;  // of a micro-batch
  GptDeviceOptions device;
  size_t batch = 4, steps = 16;
  std::string weights, batches, products, tune;
  bool prepare = false, snapshots = false, safe = false;
};

Status write(const std::string& path, const void* data, size_t size) {
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
  return file.flush() ? Status::ok() : unavailable("cannot write " + path);
}

Status write_tensors(const std::string& path, const GptModel& model, const std::vector<float>& values) {
  const std::string bytes = write_safetensors(model.tensors(), values.data());
  return write(path, bytes.data(), bytes.size());
}

std::vector<int32_t> corpus(const Options& options) {
  return gpt_corpus(options.steps * options.batch * options.shape.length + 1, options.model.vocabulary);
}

Status prepare(const Options& options, const GptModel& model) {
  if (!options.weights.empty()) {
    std::vector<float> weights(model.parameters());
    model.initialise(options.training.seed, weights.data());
    RETURN_IF_ERROR(write_tensors(options.weights, model, weights));
  }
  const auto tokens = corpus(options);
  const Permutation order(options.steps * options.batch, options.training.seed, 0);
  std::vector<int32_t> batches;
  for (size_t i = 0; i < options.steps * options.batch; ++i) {
    auto from = tokens.begin() + static_cast<ptrdiff_t>(order.at(i) * options.shape.length);
    batches.insert(batches.end(), from, from + static_cast<ptrdiff_t>(options.shape.length) + 1);
  }
  return write(options.batches, batches.data(), batches.size() * sizeof(int32_t));
}

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
  if (options.weights.empty()) return repeated_weights(model);
  ASSIGN_OR_RETURN(auto bytes, read_file(options.weights));
  ASSIGN_OR_RETURN(auto file, parse_safetensors(bytes));
  return arrange(model.tensors(), file);
}

Status tune(const Options& options, const GptModel& model) {
  ASSIGN_OR_RETURN(const auto plan, plan_gpt_device(model.config(), options.shape, options.device));
  ASSIGN_OR_RETURN(const auto table, cuda::tune_products(gpt_device_products(model.config(), plan), !options.safe));
  const std::string text = table.to_text();
  return write(options.tune, text.data(), text.size());
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
  RETURN_IF_ERROR(objective->begin_step(rounded.data<kernels::Bfloat16>(), &stream));
  RETURN_IF_ERROR(objective->forward_backward(input.data(), rounded.data<kernels::Bfloat16>(), gradient.data<float>(),
                                              loss.data<double>(), &stream, [](size_t) { return Status::ok(); }));
  std::vector<float> values(weights.size());
  RETURN_IF_ERROR(cuda::copy_to_host(values.data(), gradient.data(), gradient.bytes(), stream.get()));
  RETURN_IF_ERROR(stream.synchronize());
  RETURN_IF_ERROR(write_tensors(path, model, values));
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
  const auto words = corpus(options);
  const std::vector<Token> tokens(words.begin(), words.end());
  ASSIGN_OR_RETURN(auto objective, GptDeviceObjective::create(model, tokens, options.shape, options.training.seed,
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
  options.model.kv_heads = options.model.heads;
  options.model.feed_forward = 4 * options.model.width;
  if (options.batch % options.training.micro_batches != 0) {
    return invalid_argument("--batch must be a multiple of --micro_batches");
  }
  options.training.micro_batch_rows = options.shape.sequences = options.batch / options.training.micro_batches;
  if (options.safe) {
    options.device.attention_version = 1;
    options.device.weights_beside = false;
  }
  ASSIGN_OR_RETURN(auto model, GptModel::create(options.model));
  if (options.prepare) return prepare(options, model);
  return options.tune.empty() ? serve(options, model) : tune(options, model);
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) {
  CLI::App app("Trains a gpt of GPT-2's style on a GPU for bench/gpu/run.");
  freshet::worker::Options options;
  options.training.seed = 1;
  options.training.epochs = 1000;  // it ends when no more steps are asked for
  options.training.beta2 = 0.95;
  options.training.micro_batches = 1;
  app.add_option("--weights", options.weights, "a safetensors file; without it some, of the same distribution");
  auto* batches = app.add_option("--batches", options.batches, "with --prepare: int32, [step][batch][length + 1]");
  app.add_flag("--prepare", options.prepare, "write the files instead of training")->needs(batches);
  app.add_option("--tune", options.tune, "write the table of products instead of training");
  app.add_option("--products", options.products, "the table of products; without it the library's first proposals");
  app.add_option("--steps", options.steps, "in a pass over the tokens");
  app.add_option("--layers", options.model.layers);
  app.add_option("--heads", options.model.heads);
  app.add_option("--width", options.model.width);
  app.add_option("--context", options.model.context);
  app.add_option("--vocabulary", options.model.vocabulary);
  app.add_option("--batch", options.batch, "sequences of a step");
  app.add_option("--micro_batches", options.training.micro_batches, "into which they are divided");
  app.add_option("--length", options.shape.length, "of a sequence");
  app.add_option("--recompute", options.device.recompute, "0: nothing, 1: activations, 2: norms too, 3: layers");
  app.add_flag("--float8", options.device.float8, "products of layers in 8-bit floats");
  app.add_option("--learning_rate", options.training.learning_rate);
  app.add_option("--weight_decay", options.training.weight_decay);
  app.add_option("--clip_norm", options.training.clip_norm);
  app.add_flag("--safe", options.safe, "attention for any GPU, products of the library's, one stream");
  app.add_flag("--snapshot", options.snapshots, "copy the training's state to the host after every step");
  CLI11_PARSE(app, argc, argv);
  freshet::Status status = freshet::worker::run(options);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "gpt_train_gpu: %s\n", status.message().c_str());
  return 1;
}
