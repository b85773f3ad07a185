// Embedding tables and whole recommenders for bench/gpu/run, which starts PyTorch's side with the same files.
//
//   recommender_bench prepare DIR [shape]    writes what both sides read, all of it little-endian and without headers:
//     codes.i32     int32 [batches][tables][batch]; low codes are popular: P(code) is about 1 / (code + 1)
//     numeric.f32   float [batches][batch][numeric], in [-1, 1)
//     label.f32     float [batches][batch], 0 or 1, which depend on the codes and numbers
//     dense.f32     float, the dense parameters, one tensor after the other
//     dense.json    [{"name", "shape", "offset"}], in floats: torch's nn.Linear has the same shapes. "numeric.I" are
//     the
//                   layers of the numeric features, "cross.I" x0 * (W x + b) + x with W = up down where there is a
//                   rank, "layers.I" and "output" what follows; ReLU after all but the cross layers and the output.
//     Tables are made by hashed.h's formula on both sides: array t, [codes][dim], with the bound --bound.
//   recommender_bench embedding DIR [shape]  out[row][table][dim] = table[code]; backward from the gradient that is
//   array
//     1000 of the formula, [row][table][dim], with bound 1; row-wise AdaGrad (kernels/rowwise_adagrad.h) in all tables.
//   recommender_bench step DIR [shape]       a training step of the model: features are the tables' rows, then what the
//     numeric layers make of the numbers; the mean of binary cross entropy; AdamW (betas 0.9, 0.999, epsilon 1e-8, no
//     decay, no clipping) for the dense parameters, row-wise AdaGrad for the tables. By the product's own DeviceStep.
//
// The last two say a line of JSON when they are ready, then answer each line of the standard input with one: "check N"
// makes N steps and gives their "losses" (embedding: the sum of out * gradient, in double); "N" makes N steps and gives
// the "seconds" of each (of embedding by events on the device; of step from end to end, by the host's clock) and the
// "host_seconds" until each was queued; of step their "losses", too. Batches are taken in turn, again from the first
// after the last; every step moves the tables, so the two sides must be asked for the same steps.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "bench/gpu/hashed.h"
#include "bench/tabular_options.h"
#include "bench/tensor_files.h"
#include "worker/gpu/device_step.h"
#include "worker/gpu/tabular_device_objective.h"
#include "worker/train/permutation.h"

namespace freshet::bench {
namespace {

using worker::EncodedRows;
using worker::TabularModel;

constexpr uint32_t kGradientArray = 1000;

struct Options : worker::TabularOptions {
  std::string mode, folder;
  size_t batches = 8;
  bool tune = false, safe = false;
  float bound = 0.05F;
  kernels::RowwiseAdagradStep adagrad;
  uint64_t seed = 1;
};

// Files.

template <class T>
Status write(const Options& options, const std::string& name, const std::vector<T>& values) {
  return worker::write_bytes(options.folder + "/" + name, values.data(), values.size() * sizeof(T));
}

template <class T>
Result<std::vector<T>> read(const Options& options, const std::string& name, size_t count) {
  const std::string path = options.folder + "/" + name;
  ASSIGN_OR_RETURN(const auto bytes, read_file(path));
  if (bytes.size() != count * sizeof(T)) {
    return invalid_argument(path + " has " + std::to_string(bytes.size()) + " bytes, not " +
                            std::to_string(count * sizeof(T)) + ": was it prepared with the same options?");
  }
  std::vector<T> values(count);
  std::copy_n(bytes.data(), bytes.size(), reinterpret_cast<char*>(values.data()));
  return values;
}

Status prepare(const Options& options) {
  const Philox philox(options.seed);
  uint64_t draws = 0;
  const size_t rows = options.batches * options.batch;
  std::vector<float> signal(rows), label(rows), numeric(rows * options.numeric);
  std::vector<int32_t> codes(rows * options.tables);
  const double log_codes = std::log(static_cast<double>(options.codes) + 1);
  for (size_t i = 0; i < codes.size(); ++i) {
    const double code = std::exp(philox.uniform(draws++) * log_codes) - 1;
    codes[i] = static_cast<int32_t>(std::min(code, static_cast<double>(options.codes - 1)));
    const size_t row = i / (options.tables * options.batch) * options.batch + i % options.batch;
    signal[row] += codes[i] % 2 == 0 ? 0.3F : -0.3F;
  }
  for (size_t i = 0; i < numeric.size(); ++i) {
    numeric[i] = static_cast<float>(2 * philox.uniform(draws++) - 1);
    signal[i / options.numeric] += numeric[i];
  }
  for (size_t r = 0; r < rows; ++r) {
    label[r] = static_cast<double>(signal[r]) + 4 * philox.uniform(draws++) > 2 ? 1 : 0;
  }
  RETURN_IF_ERROR(write(options, "codes.i32", codes));
  RETURN_IF_ERROR(write(options, "numeric.f32", numeric));
  RETURN_IF_ERROR(write(options, "label.f32", label));

  // Tables of one row, as the dense tensors do not depend on how many there are.
  Options small = options;
  small.codes = 1;
  ASSIGN_OR_RETURN(const auto model, TabularModel::create(small.shape()));
  std::vector<float> parameters(model.parameters());
  model.initialise(options.seed, parameters.data());
  parameters.erase(parameters.begin(), parameters.begin() + static_cast<ptrdiff_t>(model.dense_begin()));
  RETURN_IF_ERROR(write(options, "dense.f32", parameters));
  std::string json = "[";
  for (const auto& tensor : model.dense_tensors()) {
    json += json.size() > 1 ? ",\n " : "";
    json += "{\"name\": \"" + tensor.name + "\", \"shape\": [";
    for (size_t i = 0; i < tensor.shape.size(); ++i) json += (i > 0 ? ", " : "") + std::to_string(tensor.shape[i]);
    json += "], \"offset\": " + std::to_string(tensor.offset) + "}";
  }
  json += "]\n";
  return write(options, "dense.json", std::vector<char>(json.begin(), json.end()));
}

// Answers.

std::string list(const std::vector<double>& values) {
  std::string text;
  for (double value : values) {
    char number[64];
    std::snprintf(number, sizeof number, "%s%.9g", text.empty() ? "" : ", ", value);
    text += number;
  }
  return "[" + text + "]";
}

struct Answer {
  std::vector<double> seconds, host_seconds, losses;
};

void say(const Answer& answer) {
  std::cout << "{\"seconds\": " << list(answer.seconds) << ", \"host_seconds\": " << list(answer.host_seconds)
            << ", \"losses\": " << list(answer.losses) << "}" << std::endl;
}

Status say_ready() {
  ASSIGN_OR_RETURN(const auto device, cuda::device_properties());
  ASSIGN_OR_RETURN(const size_t free, cuda::free_device_bytes());
  std::cout << "{\"version\": \"freshet " FRESHET_VERSION "\", \"device\": \"" << device.name
            << "\", \"used_mib\": " << ((device.memory_bytes - free) >> 20) << "}" << std::endl;
  return Status::ok();
}

// Calls work(steps, is_check) for each line.
template <class Work>
Status serve(Work work) {
  RETURN_IF_ERROR(say_ready());
  std::string word;
  while (std::cin >> word) {
    const bool is_check = word == "check";
    if (is_check && !(std::cin >> word)) break;
    RETURN_IF_ERROR(work(std::stoul(word), is_check));
  }
  return Status::ok();
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The tables alone.

class Embedding {
 public:
  explicit Embedding(const Options& options) : options_(options) {}

  Status start() {
    ASSIGN_OR_RETURN(stream_, cuda::Stream::create());
    ASSIGN_OR_RETURN(const auto codes, read<int32_t>(options_, "codes.i32", words() * options_.batches));
    RETURN_IF_ERROR(make(codes.size() * sizeof(int32_t), &codes_));
    RETURN_IF_ERROR(cuda::copy_to_device(codes_.data(), codes.data(), codes_.bytes(), stream_->get()));
    shape_ = {options_.batch,       1, options_.tables, words(), options_.tables * options_.codes, options_.dim,
              options_.dim % 4 == 0};
    const size_t table = options_.codes * options_.dim;
    RETURN_IF_ERROR(make(options_.tables * table * sizeof(float), &tables_));
    RETURN_IF_ERROR(make(shape_.table_rows * sizeof(float), &sums_));
    RETURN_IF_ERROR(cuda::fill_bytes(sums_.data(), 0, sums_.bytes(), stream_->get()));
    std::vector<cuda::EmbeddingFeature> features(options_.tables);
    for (uint32_t t = 0; t < features.size(); ++t) {
      const auto codes_count = static_cast<uint32_t>(options_.codes), batch = static_cast<uint32_t>(options_.batch);
      features[t].table = tables_.data<float>() + t * table;
      features[t].sums = sums_.data<float>() + t * options_.codes;
      features[t].first_row = t * codes_count;
      features[t].dim = static_cast<uint32_t>(options_.dim);
      features[t].column = t * features[t].dim;
      features[t].codes = features[t].first_lookup = t * batch;
      features[t].codes_max = batch;
      RETURN_IF_ERROR(fill_hashed(table, t, options_.bound, features[t].table, stream_->get()));
    }
    RETURN_IF_ERROR(make(features.size() * sizeof(features[0]), &features_));
    RETURN_IF_ERROR(cuda::copy_to_device(features_.data(), features.data(), features_.bytes(), stream_->get()));
    RETURN_IF_ERROR(make(options_.batch * width() * sizeof(float), &out_));
    RETURN_IF_ERROR(make(options_.batch * width() * sizeof(float), &gradient_));
    RETURN_IF_ERROR(fill_hashed(options_.batch * width(), kGradientArray, 1, gradient_.data<float>(), stream_->get()));
    RETURN_IF_ERROR(make(words() * sizeof(uint32_t), &rows_));
    RETURN_IF_ERROR(make(words() * sizeof(uint32_t), &places_));
    ASSIGN_OR_RETURN(const size_t scratch, cuda::embedding_bag_update_scratch(shape_));
    RETURN_IF_ERROR(make(scratch, &scratch_));
    RETURN_IF_ERROR(make(kProductBlocks * sizeof(double), &products_));
    // Once as it is, which loads the kernels, of a step that is not applied.
    const int32_t no = 0;
    RETURN_IF_ERROR(make(sizeof no, &not_applied_));
    RETURN_IF_ERROR(cuda::copy_to_device(not_applied_.data(), &no, sizeof no, stream_->get()));
    RETURN_IF_ERROR(queue(0, not_applied_.data<int32_t>()));
    RETURN_IF_ERROR(stream_->synchronize());
    for (size_t b = 0; b < options_.batches; ++b) {
      ASSIGN_OR_RETURN(auto graph, cuda::Graph::capture(*stream_, [&] { return queue(b, nullptr); }));
      graphs_.push_back(std::move(graph));
    }
    return Status::ok();
  }

  Status run(size_t steps, bool is_check) {
    Answer answer;
    std::vector<cuda::Event> marks;
    for (size_t s = 0; s <= steps; ++s) {
      ASSIGN_OR_RETURN(auto mark, cuda::Event::create(true));
      marks.push_back(std::move(mark));
    }
    RETURN_IF_ERROR(marks[0].record(stream_->get()));
    for (size_t s = 0; s < steps; ++s) {
      const double began = now();
      RETURN_IF_ERROR(graphs_[next_++ % graphs_.size()].launch(stream_->get()));
      RETURN_IF_ERROR(marks[s + 1].record(stream_->get()));
      answer.host_seconds.push_back(now() - began);
      if (is_check) {
        ASSIGN_OR_RETURN(const double loss, product());
        answer.losses.push_back(loss);
      }
    }
    RETURN_IF_ERROR(stream_->synchronize());
    for (size_t s = 0; s < steps; ++s) {
      ASSIGN_OR_RETURN(const float milliseconds, marks[s + 1].milliseconds_since(marks[s]));
      answer.seconds.push_back(1e-3 * static_cast<double>(milliseconds));
    }
    say(answer);
    return Status::ok();
  }

 private:
  static Status make(size_t bytes, cuda::DeviceMemory* memory) {
    ASSIGN_OR_RETURN(*memory, cuda::DeviceMemory::allocate(bytes));
    return Status::ok();
  }
  size_t words() const { return options_.tables * options_.batch; }
  size_t width() const { return options_.tables * options_.dim; }

  Status queue(size_t batch, const int32_t* is_applied) {
    const auto* features = features_.data<cuda::EmbeddingFeature>();
    const int32_t* codes = codes_.data<int32_t>() + batch * words();
    const cuda::EmbeddingLookups lookups{rows_.data<uint32_t>(), places_.data<uint32_t>()};
    RETURN_IF_ERROR(cuda::embedding_bag_forward(shape_, features, codes, out_.data<float>(), width(), stream_->get()));
    RETURN_IF_ERROR(cuda::embedding_bag_list(shape_, features, codes, nullptr, lookups, stream_->get()));
    return cuda::embedding_bag_update(shape_, features, lookups, gradient_.data<float>(), width(), options_.adagrad,
                                      {nullptr, is_applied}, scratch_.data(), stream_->get());
  }

  Result<double> product() {
    RETURN_IF_ERROR(sum_products(options_.batch * width(), out_.data<float>(), gradient_.data<float>(),
                                 products_.data<double>(), stream_->get()));
    std::vector<double> sums(kProductBlocks);
    RETURN_IF_ERROR(cuda::copy_to_host(sums.data(), products_.data(), products_.bytes(), stream_->get()));
    RETURN_IF_ERROR(stream_->synchronize());
    double sum = 0;
    for (double one : sums) sum += one;
    return sum;
  }

  const Options options_;
  std::optional<cuda::Stream> stream_;
  cuda::EmbeddingShape shape_;
  cuda::DeviceMemory codes_, tables_, sums_, features_, out_, gradient_, rows_, places_, scratch_, products_,
      not_applied_;
  std::vector<cuda::Graph> graphs_;
  size_t next_ = 0;
};

// The whole model.

// The rows as the trainer's permutation takes them from the files' order.
Result<EncodedRows> read_rows(const Options& options) {
  const size_t count = options.batches * options.batch;
  ASSIGN_OR_RETURN(const auto codes, read<int32_t>(options, "codes.i32", count * options.tables));
  ASSIGN_OR_RETURN(const auto numeric, read<float>(options, "numeric.f32", count * options.numeric));
  ASSIGN_OR_RETURN(const auto label, read<float>(options, "label.f32", count));
  const worker::Permutation order(count, options.seed, 0);
  EncodedRows rows;
  rows.rows = count;
  rows.label.resize(count);
  rows.numeric.resize(options.numeric);
  rows.categorical.resize(options.tables);
  for (auto& column : rows.numeric) column.resize(count);
  for (auto& column : rows.categorical) column.resize(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t row = order.at(i), batch = i / options.batch, place = i % options.batch;
    rows.label[row] = label[i];
    for (size_t n = 0; n < options.numeric; ++n) rows.numeric[n][row] = numeric[i * options.numeric + n];
    for (size_t t = 0; t < options.tables; ++t) {
      rows.categorical[t][row] = codes[(batch * options.tables + t) * options.batch + place];
    }
  }
  return rows;
}

worker::StepPlan plan_of(const Options& options, uint64_t step) {
  worker::StepPlan plan;
  plan.step = step;
  plan.cursor = (step - 1) % options.batches * options.batch;
  plan.rows = options.batch;
  plan.learning_rate = options.learning_rate;
  return plan;
}

// As the trainer does it: a step begins while the one in front of it is computed, and the inputs of the next are
// filled.
Status train(const Options& options, size_t steps, uint64_t* step, worker::DeviceStep* engine) {
  Answer answer;
  auto no_snapshot = [] {};
  auto end = [&]() -> Status {
    ASSIGN_OR_RETURN(const auto numbers, engine->end());
    answer.losses.push_back(numbers.loss);
    return Status::ok();
  };
  double began = now();
  for (size_t s = 0; s < steps; ++s) {
    const double queued = now();
    RETURN_IF_ERROR(engine->begin(plan_of(options, ++*step), no_snapshot));
    answer.host_seconds.push_back(now() - queued);
    if (s > 0) {
      RETURN_IF_ERROR(end());
      answer.seconds.push_back(now() - began);
      began = now();
    }
    RETURN_IF_ERROR(engine->prepare(plan_of(options, *step + 1)));
  }
  if (steps > 0) {
    RETURN_IF_ERROR(end());
    answer.seconds.push_back(now() - began);
  }
  say(answer);
  return Status::ok();
}

Status step(const Options& options) {
  ASSIGN_OR_RETURN(const auto model, TabularModel::create(options.shape()));
  ASSIGN_OR_RETURN(const auto dense, read<float>(options, "dense.f32", model.dense_parameters()));
  worker::TrainOptions training;
  training.seed = options.seed;
  training.micro_batch_rows = options.batch;
  training.micro_batches = 1;
  training.learning_rate = options.learning_rate;
  std::unique_ptr<worker::TabularDeviceObjective> objective;
  {
    ASSIGN_OR_RETURN(const auto rows, read_rows(options));
    cuda::ProductTable products;
    if (options.tune) {
      ASSIGN_OR_RETURN(products,
                       cuda::tune_products(worker::TabularDevice::products_of(model, options.batch), !options.safe));
    }
    ASSIGN_OR_RETURN(objective,
                     worker::TabularDeviceObjective::create(model, rows, training, options.adagrad, products));
  }
  ASSIGN_OR_RETURN(auto stream, cuda::Stream::create());
  for (uint32_t t = 0; t < options.tables; ++t) {
    RETURN_IF_ERROR(
        fill_hashed(options.codes * options.dim, t, options.bound, objective->tables()->values(t), stream.get()));
  }
  RETURN_IF_ERROR(stream.synchronize());
  worker::SingleCommunicator comm;
  worker::SingleDeviceCommunicator devices;
  ASSIGN_OR_RETURN(auto engine, worker::DeviceStep::create(objective.get(), training, {&comm, &devices}, dense));
  uint64_t made = 0;
  return serve([&](size_t steps, bool) { return train(options, steps, &made, engine.get()); });
}

Status run(const Options& options) {
  if (options.mode == "prepare") return prepare(options);
  RETURN_IF_ERROR(cuda::use_device(0));
  if (options.mode == "step") return step(options);
  Embedding embedding(options);
  RETURN_IF_ERROR(embedding.start());
  return serve([&](size_t steps, bool is_check) { return embedding.run(steps, is_check); });
}

}  // namespace
}  // namespace freshet::bench

int main(int argc, char** argv) {
  CLI::App app("Embedding tables and recommenders on a GPU, for bench/gpu/run.");
  freshet::bench::Options options;
  app.add_option("mode", options.mode, "prepare, embedding or step")
      ->required()
      ->check(CLI::IsMember({"prepare", "embedding", "step"}));
  app.add_option("folder", options.folder, "of the files that prepare writes")->required();
  options.add_to(&app);
  app.add_option("--bound", options.bound, "of the tables' first values")->capture_default_str();
  app.add_option("--batches", options.batches, "that differ")->capture_default_str();
  app.add_flag("--tune", options.tune, "step: choose the algorithms of matrix products by timing them first");
  app.add_flag("--safe", options.safe, "with --tune: products of the library's only");
  app.add_option("--adagrad_learning_rate", options.adagrad.learning_rate)->capture_default_str();
  app.add_option("--adagrad_epsilon", options.adagrad.epsilon)->capture_default_str();
  app.add_option("--seed", options.seed)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const freshet::Status status = freshet::bench::run(options);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "recommender_bench: %s\n", status.message().c_str());
  return 1;
}
