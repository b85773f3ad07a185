// The gpt that a benchmark trains, as options of its program, and the files that PyTorch's side of it reads, too.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/tensor_files.h"
#include "tests/support/gpt_corpus.h"
#include "worker/model/gpt.h"
#include "worker/text/tokenizer.h"
#include "worker/train/permutation.h"
#include "worker/train/trainer.h"

namespace freshet::worker {

struct GptOptions {
  GptConfig model;
  TrainOptions training;
  size_t batch = 4, length = 64;  // sequences of a step, and tokens of each
  size_t steps = 64;              // in a pass over the tokens
  std::string weights, batches;
  bool prepare = false;

  GptOptions() {
    training.seed = 1;
    training.beta2 = 0.95;
    training.micro_batches = 1;
  }

  void add_to(CLI::App* app) {
    app->add_option("--weights", weights, "a safetensors file");
    auto* file = app->add_option("--batches", batches, "with --prepare: int32, [step][batch][length + 1]");
    app->add_flag("--prepare", prepare, "write the files instead of training")->needs(file);
    app->add_option("--steps", steps, "in a pass over the tokens")->capture_default_str();
    app->add_option("--layers", model.layers);
    app->add_option("--heads", model.heads);
    app->add_option("--width", model.width);
    app->add_option("--context", model.context);
    app->add_option("--vocabulary", model.vocabulary);
    app->add_option("--batch", batch, "sequences of a step");
    app->add_option("--micro_batches", training.micro_batches, "into which they are divided");
    app->add_option("--length", length, "of a sequence");
    app->add_option("--learning_rate", training.learning_rate);
    app->add_option("--weight_decay", training.weight_decay);
    app->add_option("--clip_norm", training.clip_norm);
  }

  // What follows from the options, when they are read.
  Status complete() {
    model.kv_heads = model.heads;
    model.feed_forward = 4 * model.width;
    if (batch % training.micro_batches != 0) return invalid_argument("--batch must be a multiple of --micro_batches");
    training.micro_batch_rows = batch / training.micro_batches;
    return Status::ok();
  }

  std::vector<Token> tokens() const {
    const auto words = gpt_corpus(steps * batch * length + 1, model.vocabulary);
    return {words.begin(), words.end()};
  }
};

// Initial weights, where --weights names a file, and the batches that the trainer makes of the tokens.
inline Status write_gpt_files(const GptOptions& options, const GptModel& model) {
  if (!options.weights.empty()) {
    std::vector<float> weights(model.parameters());
    model.initialise(options.training.seed, weights.data());
    RETURN_IF_ERROR(write_tensors(options.weights, model.tensors(), weights.data()));
  }
  const auto tokens = options.tokens();
  const Permutation order(options.steps * options.batch, options.training.seed, 0);
  std::vector<int32_t> batches;
  for (size_t i = 0; i < options.steps * options.batch; ++i) {
    const auto from = tokens.begin() + static_cast<ptrdiff_t>(order.at(i) * options.length);
    for (size_t t = 0; t <= options.length; ++t)
      batches.push_back(static_cast<int32_t>(from[static_cast<ptrdiff_t>(t)]));
  }
  return write_bytes(options.batches, batches.data(), batches.size() * sizeof(int32_t));
}

}  // namespace freshet::worker
