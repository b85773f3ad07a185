// Trains on tables for bench/cpu/main.py, from Parquet files to the end of a pass: --prepare writes the initial weights
// and the order that the trainer takes the rows in, which torch_table.py reads; without it each line of the standard
// input asks for one such training, answered with a line of JSON.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "bench/cpu/turns.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/data/training_rows.h"
#include "worker/model/tabular.h"
#include "worker/train/permutation.h"
#include "worker/train/tabular_objective.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

struct Options {
  TrainOptions training;  // of one pass
  std::string data, weights, order;
  unsigned threads = 1;
  bool prepare = false;
};

// The demo's: configs/flights.
v1::TabularModel recipe() {
  v1::TabularModel model;
  for (const char* column : {"distance", "origin", "destination"}) {
    auto* feature = model.add_features();
    feature->set_column(column);
    feature->set_kind(model.features_size() == 1 ? v1::Feature::NUMERIC : v1::Feature::CATEGORICAL);
  }
  model.mutable_label()->set_column("delay");
  model.mutable_label()->set_task(v1::Label::BINARY);
  model.mutable_label()->set_positive_above(15);
  for (uint32_t width : {64, 32}) model.add_hidden_layers(width);
  return model;
}

Result<TrainingRows> read_rows(const Options& options) {
  v1::DatasetVersion data;
  data.set_source_uri("file://" + options.data);
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(options.data)) names.push_back(file.path().filename());
  std::sort(names.begin(), names.end());
  for (const auto& name : names) data.add_entries()->set_uri(name);
  ASSIGN_OR_RETURN(const auto stream, TableStream::open(data, training_columns(recipe()), options.threads));
  return prepare_rows(recipe(), stream, nullptr, std::make_shared<Scratch>(size_t{1} << 30, options.data),
                      options.threads);
}

Status write(const std::string& path, const char* data, size_t size) {
  std::ofstream file(path, std::ios::binary);
  file.write(data, static_cast<std::streamsize>(size));
  return file.flush() ? Status::ok() : unavailable("cannot write " + path);
}

Status prepare(const Options& options) {
  ASSIGN_OR_RETURN(const auto prepared, read_rows(options));
  ASSIGN_OR_RETURN(const auto model, TabularModel::create(TabularShape::of(prepared.transform)));
  std::vector<float> weights(model.parameters());
  model.initialise(options.training.seed, weights.data());
  const std::string bytes = write_safetensors(model.tensors(), weights.data());
  RETURN_IF_ERROR(write(options.weights, bytes.data(), bytes.size()));
  const Permutation order(prepared.rows.rows, options.training.seed, 0);
  std::vector<int32_t> rows(prepared.rows.rows);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(order.at(i));
  return write(options.order, reinterpret_cast<const char*>(rows.data()), rows.size() * sizeof(int32_t));
}

Status train(const Options& options) {
  const double cpu_began = cpu_seconds();
  const auto began = std::chrono::steady_clock::now();
  auto seconds = [began] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count(); };
  ASSIGN_OR_RETURN(const auto prepared, read_rows(options));
  const double read_seconds = seconds();
  ASSIGN_OR_RETURN(const auto model, TabularModel::create(TabularShape::of(prepared.transform)));
  std::vector<float> weights(model.parameters());
  model.initialise(options.training.seed, weights.data());
  SingleCommunicator comm;
  ThreadPool pool(options.threads);
  ASSIGN_OR_RETURN(auto objective,
                   TabularObjective::create(model, prepared.rows, options.training.micro_batch_rows, pool.threads()));
  ASSIGN_OR_RETURN(auto trainer, Trainer::create(&objective, options.training, &comm, &pool, std::move(weights)));
  std::string losses;
  RETURN_IF_ERROR(trainer.run([&losses](const StepResult& step) {
    char text[64];
    std::snprintf(text, sizeof text, "%s%.9g", losses.empty() ? "" : ", ", step.loss);
    losses += text;
    return Status::ok();
  }));
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::cout << "{\"seconds\": [" << seconds() << "], \"read_seconds\": " << read_seconds << ", \"losses\": [" << losses
            << "], \"rows\": " << prepared.rows.rows << ", \"cpu_seconds\": " << cpu_seconds() - cpu_began
            << ", \"peak_mib\": " << usage.ru_maxrss / 1024 << "}" << std::endl;
  return Status::ok();
}

Status run(const Options& options) {
  if (options.prepare) return prepare(options);
  std::cout << "{\"version\": \"" << FRESHET_VERSION << "\"}" << std::endl;
  for (std::string line; std::getline(std::cin, line);) RETURN_IF_ERROR(train(options));
  return Status::ok();
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) {
  CLI::App app("Trains the flights model from Parquet files for bench/cpu/run.");
  freshet::worker::Options options;
  options.training.seed = 1;
  options.training.learning_rate = 0.002;
  app.add_option("--data", options.data, "a directory of Parquet files")->required();
  auto* weights = app.add_option("--weights", options.weights, "with --prepare: a safetensors file");
  auto* order = app.add_option("--order", options.order, "with --prepare: int32, the rows as they are taken");
  app.add_flag("--prepare", options.prepare, "write the files instead of training")->needs(weights)->needs(order);
  app.add_option("--micro_batch_rows", options.training.micro_batch_rows);
  app.add_option("--micro_batches", options.training.micro_batches);
  app.add_option("--threads", options.threads);
  CLI11_PARSE(app, argc, argv);
  freshet::Status status = freshet::worker::run(options);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "table_train: %s\n", status.message().c_str());
  return 1;
}
