// freshet-tune: finds the fastest algorithm of each matrix product of a model on this machine's GPU, and writes the
// table that trainings read. Training itself never tunes: the algorithms decide on bits.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>

#include "base/file.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/products.h"
#include "worker/checkpoint/gpt_config_json.h"
#include "worker/gpu/gpt_device_plan.h"
#include "worker/gpu/gpt_device_products.h"

namespace freshet::worker {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string config, table;
  GptDeviceShape shape{16, 1024};
  GptDeviceOptions plan;
  size_t head_mib = 1024;
  int device = 0;
};

// The table that is there, when it is of this device and library: the shapes of other models stay in it.
Result<cuda::ProductTable> existing_table(const fs::path& path, const cuda::ProductTable& tuned) {
  if (!fs::exists(path)) return cuda::ProductTable{{}, tuned.device, tuned.library};
  ASSIGN_OR_RETURN(const std::string text, read_file(path));
  ASSIGN_OR_RETURN(auto table, std::move(cuda::ProductTable::of_text(text)).with_context(path.string()));
  RETURN_IF_ERROR(table.check_made_for(tuned.device, tuned.library).with_context(path.string()));
  return table;
}

void print(const cuda::ProductTable& tuned) {
  std::printf("%-52s %12s %9s  %s\n", "product", "microseconds", "TFLOP/s", "by");
  for (const auto& entry : tuned.entries) {
    const auto& shape = entry.shape;
    const double operations =
        2 * static_cast<double>(shape.m) * static_cast<double>(shape.n) * static_cast<double>(shape.k);
    std::printf("%-52s %12.1f %9.1f  %s\n", shape.name().c_str(), entry.microseconds,
                operations / (entry.microseconds * 1e6),
                entry.algorithm.starts_with("own-") ? entry.algorithm.c_str() : tuned.library.c_str());
  }
}

Status tune(const Options& options) {
  ASSIGN_OR_RETURN(const std::string json, read_file(options.config));
  ASSIGN_OR_RETURN(const auto parsed, std::move(parse_gpt_config(json)).with_context(options.config));
  ASSIGN_OR_RETURN(const auto plan, plan_gpt_device(parsed.config, options.shape, options.plan));
  if (cuda::device_count() == 0) return unavailable("there is no CUDA device");
  RETURN_IF_ERROR(cuda::use_device(options.device));
  ASSIGN_OR_RETURN(const auto tuned, cuda::tune_products(gpt_device_products(parsed.config, plan)));
  print(tuned);
  ASSIGN_OR_RETURN(auto table, existing_table(options.table, tuned));
  table.add(tuned.entries);
  RETURN_IF_ERROR(write_file_durably(options.table, table.to_text()));
  std::printf("%s: %zu products on %s, digest %s\n", options.table.c_str(), table.entries.size(), table.device.c_str(),
              table.digest().c_str());
  return Status::ok();
}

int main_of(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Times the algorithms of each matrix product of a gpt on this machine's GPU and writes the fastest into a "
      "table.");
  app.footer(
      "The table belongs to the GPU's model and the library's version. Shapes of other models stay in it.\n"
      "Examples:\n"
      "  freshet-tune gpt2/config.json h200.products --sequences 64 --length 1024\n"
      "  freshet-tune gpt2-xl/config.json h200.products --sequences 16 --recompute activations");
  app.add_option("CONFIG", options.config, "config.json of a gpt (GPT-2 or Llama), as Hugging Face has it")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("TABLE", options.table, "is added to when it is there")->required();
  app.add_option("--sequences", options.shape.sequences, "of a micro-batch")->capture_default_str();
  app.add_option("--length", options.shape.length, "tokens of a sequence")->capture_default_str();
  app.add_option("--recompute", options.plan.recompute, "what the backward pass makes once more")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Recompute>{{"nothing", Recompute::kNothing},
                                                                           {"activations", Recompute::kActivations},
                                                                           {"norms", Recompute::kNorms},
                                                                           {"layers", Recompute::kLayers}}));
  app.add_flag("--float8", options.plan.float8, "with the products of layers in 8-bit floats");
  app.add_option("--head-mib", options.head_mib, "of logits that exist at a time")->capture_default_str();
  app.add_option("--device", options.device, "number of the GPU")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  options.plan.head_bytes = options.head_mib << 20;
  const Status status = tune(options);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "freshet-tune: %s\n", status.message().c_str());
  return 1;
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) { return freshet::worker::main_of(argc, argv); }
