// Trains a gpt with the product's own loop for bench/cpu/main.py: --prepare writes initial weights and the batches that
// the trainer makes of its tokens, which bench/torch_gpt.py reads; without it each line of the standard input is a
// number of steps to make, answered with a line of JSON.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "bench/cpu/turns.h"
#include "bench/gpt_options.h"
#include "worker/checkpoint/checkpointer.h"
#include "worker/model/gpt.h"
#include "worker/train/gpt_objective.h"
#include "worker/train/permutation.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

struct Options : GptOptions {
  unsigned threads = 1;
  std::string checkpoint_dir;
  uint64_t checkpoint_every = 0;
  bool bfloat16 = false;
};

Status serve(const Options& options, const GptModel& model) {
  ASSIGN_OR_RETURN(auto weights, read_tensors(options.weights, model.tensors()));
  const auto tokens = options.tokens();
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
  RETURN_IF_ERROR(options.complete());
  if (options.bfloat16) options.model.compute = GptConfig::Compute::kBfloat16;
  ASSIGN_OR_RETURN(auto model, GptModel::create(options.model));
  return options.prepare ? write_gpt_files(options, model) : serve(options, model);
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) {
  CLI::App app("Trains a gpt of GPT-2's style for bench/cpu/run.");
  freshet::worker::Options options;
  options.add_to(&app);
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
