// Trains a gpt for bench/cpu/main.py: --prepare writes initial weights and tokens, which torch_gpt.py reads too;
// without it each line of the standard input is a number of steps to make, answered with a line of JSON.
#include <sys/resource.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "base/file.h"
#include "kernels/reduce.h"
#include "tests/support/gpt_corpus.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/model/gpt.h"
#include "worker/train/flat_update.h"

namespace freshet::worker {
namespace {

struct Options {
  GptConfig model;
  size_t batch = 4, length = 64, batches = 64;
  double learning_rate = 1e-4, weight_decay = 0.1, clip_norm = 1;
  unsigned threads = 1;
  std::string weights, tokens;
  bool prepare = false, bfloat16 = false;
};

// One process' training: weights and moments, one micro-batch a step.
class Training {
 public:
  Training(const Options& options, GptModel model, std::vector<float> weights, std::vector<int32_t> tokens)
      : options_(options),
        model_(std::move(model)),
        weights_(std::move(weights)),
        tokens_(std::move(tokens)),
        gradient_(weights_.size()),
        m_(weights_.size()),
        v_(weights_.size()),
        block_sums_((weights_.size() + kernels::kBlock - 1) / kernels::kBlock),
        rounded_(options.bfloat16 ? weights_.size() : 0),
        pool_(options.threads),
        workspace_(model_, options.batch * options.length, true) {
    if (options.bfloat16) model_.round_parameters(weights_.data(), rounded_.data(), &pool_);
  }

  Result<double> step() {
    const size_t rows = options_.batch * options_.length, stride = options_.length + 1;
    const int32_t* from = tokens_.data() + (steps_ * options_.batch * stride) % tokens_.size();
    std::vector<int32_t> inputs, targets;
    for (size_t s = 0; s < options_.batch; ++s) {
      inputs.insert(inputs.end(), from + s * stride, from + s * stride + options_.length);
      targets.insert(targets.end(), from + s * stride + 1, from + (s + 1) * stride);
    }
    GptBatch batch;
    batch.sequences = options_.batch;
    batch.length = options_.length;
    batch.tokens = inputs.data();
    batch.targets = targets.data();
    RETURN_IF_ERROR(model_.check_batch(batch));
    const float scale = 1.0F / static_cast<float>(rows);
    ASSIGN_OR_RETURN(double loss, model_.forward_backward(batch, scale, {weights_.data(), rounded_.data()},
                                                          gradient_.data(), &pool_, &workspace_));
    kernels::AdamWStep adamw;
    adamw.learning_rate = static_cast<float>(options_.learning_rate);
    adamw.weight_decay = static_cast<float>(options_.weight_decay);
    adamw.beta2 = 0.95F;
    if (options_.clip_norm > 0) {
      block_sums_of_squares(gradient_.size(), gradient_.data(), block_sums_.data(), &pool_);
      adamw.gradient_scale = clipping_factor(norm_of(block_sums_), options_.clip_norm);
    }
    kernels::set_corrections(++steps_, &adamw);
    update_weights(adamw, weights_.size(), gradient_.data(), weights_.data(), m_.data(), v_.data(),
                   options_.bfloat16 ? rounded_.data() : nullptr, &pool_);
    return loss / static_cast<double>(rows);
  }

 private:
  const Options options_;
  const GptModel model_;
  std::vector<float> weights_;
  std::vector<int32_t> tokens_;
  std::vector<float> gradient_, m_, v_;
  std::vector<double> block_sums_;
  std::vector<uint16_t> rounded_;
  ThreadPool pool_;
  GptModel::Workspace workspace_;
  uint64_t steps_ = 0;
};

Status write(const std::string& path, const char* data, size_t size) {
  std::ofstream file(path, std::ios::binary);
  file.write(data, static_cast<std::streamsize>(size));
  return file.flush() ? Status::ok() : unavailable("cannot write " + path);
}

Status prepare(const Options& options, const GptModel& model) {
  std::vector<float> weights(model.parameters());
  model.initialise(1, weights.data());
  const std::string bytes = write_safetensors(model.tensors(), weights.data());
  RETURN_IF_ERROR(write(options.weights, bytes.data(), bytes.size()));
  auto tokens = gpt_corpus(options.batches * options.batch * (options.length + 1), options.model.vocabulary);
  return write(options.tokens, reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(int32_t));
}

Result<std::vector<float>> read_weights(const Options& options, const GptModel& model) {
  ASSIGN_OR_RETURN(auto bytes, read_file(options.weights));
  ASSIGN_OR_RETURN(auto file, parse_safetensors(bytes));
  std::vector<float> weights(model.parameters());
  for (const auto& tensor : model.tensors()) {
    auto found = std::find_if(file.tensors.begin(), file.tensors.end(),
                              [&](const TensorView& other) { return other.name == tensor.name; });
    if (found == file.tensors.end() || found->shape != tensor.shape) {
      return invalid_argument(options.weights + " has no " + tensor.name + " of this model");
    }
    std::copy_n(file.values.begin() + static_cast<ptrdiff_t>(found->offset), tensor.size,
                weights.begin() + static_cast<ptrdiff_t>(tensor.offset));
  }
  return weights;
}

// Of all threads of this process.
double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

Status serve(const Options& options, GptModel model) {
  ASSIGN_OR_RETURN(auto weights, read_weights(options, model));
  ASSIGN_OR_RETURN(auto bytes, read_file(options.tokens));
  std::vector<int32_t> tokens(bytes.size() / sizeof(int32_t));
  std::copy_n(bytes.data(), tokens.size() * sizeof(int32_t), reinterpret_cast<char*>(tokens.data()));
  bytes = {};
  Training training(options, std::move(model), std::move(weights), std::move(tokens));
  std::cout << "{\"version\": \"" << FRESHET_VERSION << "\"}" << std::endl;
  for (int count = 0; std::cin >> count;) {
    std::string seconds, losses;
    const double cpu_before = cpu_seconds();
    for (int i = 0; i < count; ++i) {
      auto began = std::chrono::steady_clock::now();
      ASSIGN_OR_RETURN(double loss, training.step());
      std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
      char text[64];
      std::snprintf(text, sizeof text, "%s%.9g", i == 0 ? "" : ", ", took.count());
      seconds += text;
      std::snprintf(text, sizeof text, "%s%.9g", i == 0 ? "" : ", ", loss);
      losses += text;
    }
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    std::cout << "{\"seconds\": [" << seconds << "], \"losses\": [" << losses
              << "], \"cpu_seconds\": " << (cpu_seconds() - cpu_before) / count
              << ", \"peak_mib\": " << usage.ru_maxrss / 1024 << "}" << std::endl;
  }
  return Status::ok();
}

Status run(Options options) {
  options.model.kv_heads = options.model.heads;
  options.model.feed_forward = 4 * options.model.width;
  if (options.bfloat16) options.model.compute = GptConfig::Compute::kBfloat16;
  ASSIGN_OR_RETURN(auto model, GptModel::create(options.model));
  return options.prepare ? prepare(options, model) : serve(options, std::move(model));
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) {
  CLI::App app("Trains a gpt of GPT-2's style for bench/cpu/run.");
  freshet::worker::Options options;
  app.add_option("--weights", options.weights, "a safetensors file")->required();
  app.add_option("--tokens", options.tokens, "int32, batch * (length + 1) for each step")->required();
  app.add_flag("--prepare", options.prepare, "write both files instead of training");
  app.add_option("--batches", options.batches, "with --prepare: so many steps of tokens");
  app.add_option("--layers", options.model.layers);
  app.add_option("--heads", options.model.heads);
  app.add_option("--width", options.model.width);
  app.add_option("--context", options.model.context);
  app.add_option("--vocabulary", options.model.vocabulary);
  app.add_option("--batch", options.batch);
  app.add_option("--length", options.length);
  app.add_option("--learning_rate", options.learning_rate);
  app.add_option("--weight_decay", options.weight_decay);
  app.add_option("--clip_norm", options.clip_norm);
  app.add_option("--threads", options.threads);
  app.add_flag("--bf16", options.bfloat16);
  CLI11_PARSE(app, argc, argv);
  freshet::Status status = freshet::worker::run(options);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "gpt_train: %s\n", status.message().c_str());
  return 1;
}
