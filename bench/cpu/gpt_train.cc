// Trains a gpt with the product's own loop for bench/cpu/main.py: --prepare writes initial weights, tokens, and the
// batches that the trainer makes of them, which torch_gpt.py reads; without it each line of the standard input is a
// number of steps to make, answered with a line of JSON.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "bench/cpu/turns.h"
#include "tests/support/gpt_corpus.h"
#include "worker/checkpoint/checkpointer.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/weights.h"
#include "worker/model/gpt.h"
#include "worker/train/gpt_objective.h"
#include "worker/train/permutation.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

struct Options {
  GptConfig model;
  TrainOptions training;  // of one pass
  size_t batch = 4, length = 64, steps = 64;
  unsigned threads = 1;
  std::string weights, tokens, batches, checkpoint_dir;
  uint64_t checkpoint_every = 0;
  bool prepare = false, bfloat16 = false;
};

Status write(const std::string& path, const char* data, size_t size) {
  std::ofstream file(path, std::ios::binary);
  file.write(data, static_cast<std::streamsize>(size));
  return file.flush() ? Status::ok() : unavailable("cannot write " + path);
}

Status write(const std::string& path, const std::vector<int32_t>& tokens) {
  return write(path, reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(int32_t));
}

Status prepare(const Options& options, const GptModel& model) {
  std::vector<float> weights(model.parameters());
  model.initialise(options.training.seed, weights.data());
  const std::string bytes = write_safetensors(model.tensors(), weights.data());
  RETURN_IF_ERROR(write(options.weights, bytes.data(), bytes.size()));
  const size_t sequences = options.steps * options.batch;
  const auto tokens = gpt_corpus(sequences * options.length + 1, options.model.vocabulary);
  RETURN_IF_ERROR(write(options.tokens, tokens));
  const Permutation order(sequences, options.training.seed, 0);
  std::vector<int32_t> batches;
  for (size_t i = 0; i < sequences; ++i) {
    auto from = tokens.begin() + static_cast<ptrdiff_t>(order.at(i) * options.length);
    batches.insert(batches.end(), from, from + static_cast<ptrdiff_t>(options.length) + 1);
  }
  return write(options.batches, batches);
}

Result<std::vector<Token>> read_tokens(const std::string& path) {
  ASSIGN_OR_RETURN(auto bytes, read_file(path));
  std::vector<int32_t> words(bytes.size() / sizeof(int32_t));
  std::copy_n(bytes.data(), words.size() * sizeof(int32_t), reinterpret_cast<char*>(words.data()));
  return std::vector<Token>(words.begin(), words.end());
}

Result<std::vector<float>> read_weights(const std::string& path, const GptModel& model) {
  ASSIGN_OR_RETURN(auto bytes, read_file(path));
  ASSIGN_OR_RETURN(auto file, parse_safetensors(bytes));
  return arrange(model.tensors(), file);
}

Status serve(const Options& options, const GptModel& model) {
  ASSIGN_OR_RETURN(auto weights, read_weights(options.weights, model));
  ASSIGN_OR_RETURN(const auto tokens, read_tokens(options.tokens));
  SingleCommunicator comm;
  ThreadPool pool(options.threads);
  ASSIGN_OR_RETURN(auto objective,
                   GptObjective::create(model, tokens, options.length, options.training.micro_batch_rows,
                                        options.training.seed, pool.threads()));
  ASSIGN_OR_RETURN(auto trainer, Trainer::create(&objective, options.training, &comm, &pool, std::move(weights)));
  if (options.checkpoint_every == 0) return train_in_turns(&trainer);
  CheckpointOptions wanted;
  wanted.directory = options.checkpoint_dir;
  wanted.epoch = 1;
  wanted.every_steps = options.checkpoint_every;
  wanted.kept = 1;
  wanted.threads = options.threads;
  return train_in_turns(&trainer, Saving{wanted, model.tensors(), &comm});
}

Status run(Options options) {
  options.model.kv_heads = options.model.heads;
  options.model.feed_forward = 4 * options.model.width;
  if (options.bfloat16) options.model.compute = GptConfig::Compute::kBfloat16;
  if (options.batch % options.training.micro_batches != 0) {
    return invalid_argument("--batch must be a multiple of --micro_batches");
  }
  options.training.micro_batch_rows = options.batch / options.training.micro_batches;
  ASSIGN_OR_RETURN(auto model, GptModel::create(options.model));
  return options.prepare ? prepare(options, model) : serve(options, model);
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) {
  CLI::App app("Trains a gpt of GPT-2's style for bench/cpu/run.");
  freshet::worker::Options options;
  options.training.seed = 1;
  options.training.beta2 = 0.95;
  options.training.micro_batches = 1;
  app.add_option("--weights", options.weights, "a safetensors file")->required();
  app.add_option("--tokens", options.tokens, "int32, one stream")->required();
  auto* batches = app.add_option("--batches", options.batches, "with --prepare: int32, [step][batch][length + 1]");
  app.add_flag("--prepare", options.prepare, "write the files instead of training")->needs(batches);
  app.add_option("--steps", options.steps, "with --prepare: how many there are tokens for");
  app.add_option("--layers", options.model.layers);
  app.add_option("--heads", options.model.heads);
  app.add_option("--width", options.model.width);
  app.add_option("--context", options.model.context);
  app.add_option("--vocabulary", options.model.vocabulary);
  app.add_option("--batch", options.batch, "sequences of a step");
  app.add_option("--micro_batches", options.training.micro_batches, "into which they are divided");
  app.add_option("--length", options.length, "of a sequence");
  app.add_option("--learning_rate", options.training.learning_rate);
  app.add_option("--weight_decay", options.training.weight_decay);
  app.add_option("--clip_norm", options.training.clip_norm);
  app.add_option("--checkpoint_dir", options.checkpoint_dir);
  app.add_option("--checkpoint_every", options.checkpoint_every, "steps; 0: never")->needs("--checkpoint_dir");
  app.add_option("--threads", options.threads);
  app.add_flag("--bf16", options.bfloat16);
  CLI11_PARSE(app, argc, argv);
  freshet::Status status = freshet::worker::run(options);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "gpt_train: %s\n", status.message().c_str());
  return 1;
}
