// Trains a tabular model with the product's own loop for bench/cpu/main.py: --prepare writes initial weights, rows and
// the order in which the trainer takes them, which torch_tabular.py reads, too; without it, see turns.h.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "bench/cpu/turns.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/weights.h"
#include "worker/train/embedding_tables.h"
#include "worker/train/permutation.h"
#include "worker/train/tabular_objective.h"

namespace freshet::worker {
namespace {

struct Options {
  TrainOptions training;  // of one pass
  size_t tables = 2, codes = 229, dim = 16, numeric = 1, steps = 64, batch = 4096;
  std::vector<uint32_t> hidden, numeric_layers;
  unsigned threads = 1;
  std::string weights, data, order;
  bool prepare = false, dot = false, rowwise_adagrad = false;
};

TabularShape shape_of(const Options& options) {
  TabularShape shape;
  for (size_t t = 0; t < options.tables; ++t) {
    shape.categorical.push_back(
        {std::to_string(t), static_cast<uint32_t>(options.codes), static_cast<uint32_t>(options.dim), false});
  }
  shape.numeric = options.numeric;
  shape.numeric_layers = options.numeric_layers;
  shape.hidden = options.hidden;
  if (options.dot) shape.interaction = TabularShape::Interaction::kDot;
  return shape;
}

Status write(const std::string& path, const void* data, size_t size) {
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
  return file.flush() ? Status::ok() : unavailable("cannot write " + path);
}

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
  const std::string bytes = write_safetensors(model.tensors(), weights.data());
  RETURN_IF_ERROR(write(options.weights, bytes.data(), bytes.size()));
  const size_t count = options.steps * options.batch;
  const auto rows = make_rows(options, count);
  RETURN_IF_ERROR(write(options.data, rows.data(), rows.size() * sizeof(float)));
  const Permutation order(count, options.training.seed, 0);
  std::vector<int32_t> examples;
  for (size_t i = 0; i < count; ++i) examples.push_back(static_cast<int32_t>(order.at(i)));
  return write(options.order, examples.data(), examples.size() * sizeof(int32_t));
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
  ASSIGN_OR_RETURN(auto bytes, read_file(options.weights));
  ASSIGN_OR_RETURN(auto file, parse_safetensors(bytes));
  ASSIGN_OR_RETURN(auto weights, arrange(model.tensors(), file));
  file = {};
  bytes = {};
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
  ASSIGN_OR_RETURN(auto model, TabularModel::create(shape_of(options)));
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
  app.add_option("--tables", options.tables, "categorical features");
  app.add_option("--codes", options.codes, "of each");
  app.add_option("--dim", options.dim, "of their embeddings");
  app.add_option("--numeric", options.numeric, "features");
  app.add_option("--numeric_layers", options.numeric_layers)->delimiter(',');
  app.add_option("--hidden", options.hidden)->delimiter(',');
  app.add_option("--dot", options.dot, "1: DLRM's interaction");
  app.add_option("--rowwise_adagrad", options.rowwise_adagrad, "1: for the tables, with a learning rate of 0.01");
  app.add_option("--batch", options.batch, "rows of a step");
  app.add_option("--micro_batches", options.training.micro_batches, "into which they are divided");
  app.add_option("--learning_rate", options.training.learning_rate);
  app.add_option("--weight_decay", options.training.weight_decay);
  app.add_option("--threads", options.threads);
  CLI11_PARSE(app, argc, argv);
  freshet::Status status = freshet::worker::run(options);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "tabular_train: %s\n", status.message().c_str());
  return 1;
}
