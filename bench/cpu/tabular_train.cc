// Trains a tabular model with the product's own loop for bench/cpu/main.py: --prepare writes initial weights, rows and
// the order in which the trainer takes them, which torch_tabular.py reads, too; without it, see turns.h.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "bench/cpu/turns.h"
#include "bench/tabular_options.h"
#include "bench/tensor_files.h"
#include "worker/train/embedding_tables.h"
#include "worker/train/permutation.h"
#include "worker/train/tabular_objective.h"

namespace freshet::worker {
namespace {

struct Options : TabularOptions {
  TrainOptions training;  // of one pass
  size_t steps = 64;
  unsigned threads = 1;
  std::string weights, data, order;
  bool prepare = false, rowwise_adagrad = false;
};

// [row][label, numeric features, codes], all as floats.
std::vector<float> make_rows(const Options& options, size_t count) {
  Philox philox(options.training.seed);
  std::vector<float> rows;
  uint64_t draws = 0;
  for (size_t r = 0; r < count; ++r) {
    const size_t at = rows.size();
    rows.push_back(0);
    double signal = 0;
    for (size_t n = 0; n < options.numeric; ++n) {
      rows.push_back(static_cast<float>(2 * philox.uniform(draws++) - 1));
      signal += static_cast<double>(rows.back());
    }
    for (size_t t = 0; t < options.tables; ++t) {
      rows.push_back(static_cast<float>(philox.below(draws++, options.codes)));
      signal += static_cast<int>(rows.back()) % 2 == 0 ? 0.3 : -0.3;
    }
    rows[at] = signal + 2 * philox.uniform(draws++) > 1 ? 1 : 0;
  }
  return rows;
}

Status prepare(const Options& options, const TabularModel& model) {
  std::vector<float> weights(model.parameters());
  model.initialise(options.training.seed, weights.data());
  RETURN_IF_ERROR(write_tensors(options.weights, model.tensors(), weights.data()));
  const size_t count = options.steps * options.batch;
  const auto rows = make_rows(options, count);
  RETURN_IF_ERROR(write_bytes(options.data, rows.data(), rows.size() * sizeof(float)));
  const Permutation order(count, options.training.seed, 0);
  std::vector<int32_t> examples;
  for (size_t i = 0; i < count; ++i) examples.push_back(static_cast<int32_t>(order.at(i)));
  return write_bytes(options.order, examples.data(), examples.size() * sizeof(int32_t));
}

Result<EncodedRows> read_rows(const Options& options) {
  ASSIGN_OR_RETURN(auto bytes, read_file(options.data));
  const float* values = reinterpret_cast<const float*>(bytes.data());
  EncodedRows rows;
  rows.rows = bytes.size() / sizeof(float) / (1 + options.numeric + options.tables);
  rows.numeric.resize(options.numeric);
  rows.categorical.resize(options.tables);
  for (size_t r = 0; r < rows.rows; ++r) {
    rows.label.push_back(*values++);
    for (auto& column : rows.numeric) column.push_back(*values++);
    for (auto& column : rows.categorical) column.push_back(static_cast<int32_t>(*values++));
  }
  return rows;
}

Status serve(const Options& options, const TabularModel& model) {
  ASSIGN_OR_RETURN(auto weights, read_tensors(options.weights, model.tensors()));
  ASSIGN_OR_RETURN(auto rows, read_rows(options));
  SingleCommunicator comm;
  ThreadPool pool(options.threads);
  std::unique_ptr<EmbeddingTables> tables;
  if (options.rowwise_adagrad) {
    tables = std::make_unique<EmbeddingTables>(std::span(model.tensors()).first(options.tables),
                                               kernels::RowwiseAdagradStep{0.01F, 1e-8F}, &comm,
                                               options.training.micro_batches, options.training.micro_batch_rows);
  }
  ASSIGN_OR_RETURN(auto objective, TabularObjective::create(model, rows, options.training.micro_batch_rows,
                                                            pool.threads(), std::move(tables)));
  rows = {};
  ASSIGN_OR_RETURN(auto trainer, Trainer::create(&objective, options.training, &comm, &pool, std::move(weights)));
  return train_in_turns(&trainer);
}

Status run(Options options) {
  if (options.batch % options.training.micro_batches != 0) {
    return invalid_argument("--batch must be a multiple of --micro_batches");
  }
  options.training.micro_batch_rows = options.batch / options.training.micro_batches;
  options.training.learning_rate = options.learning_rate;
  ASSIGN_OR_RETURN(auto model, TabularModel::create(options.shape()));
  return options.prepare ? prepare(options, model) : serve(options, model);
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) {
  CLI::App app("Trains a tabular model for bench/cpu/run.");
  freshet::worker::Options options;
  options.training.seed = 1;
  app.add_option("--weights", options.weights, "a safetensors file")->required();
  app.add_option("--data", options.data, "float, [row][label, numeric features, codes]")->required();
  auto* order = app.add_option("--order", options.order, "with --prepare: int32, the rows as they are taken");
  app.add_flag("--prepare", options.prepare, "write the files instead of training")->needs(order);
  app.add_option("--steps", options.steps, "with --prepare: how many there are rows for");
  options.add_to(&app);
  app.add_option("--rowwise_adagrad", options.rowwise_adagrad, "1: for the tables, with a learning rate of 0.01");
  app.add_option("--micro_batches", options.training.micro_batches, "into which they are divided");
  app.add_option("--weight_decay", options.training.weight_decay);
  app.add_option("--threads", options.threads);
  CLI11_PARSE(app, argc, argv);
  freshet::Status status = freshet::worker::run(options);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "tabular_train: %s\n", status.message().c_str());
  return 1;
}
