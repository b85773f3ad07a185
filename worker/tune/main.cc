// freshet-tune: finds the fastest algorithm of each matrix product of a model on this machine's GPU, and writes the
// table that trainings read. Training itself never tunes: the algorithms decide on bits.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/file.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/float8.h"
#include "kernels/cuda/products.h"
#include "proto/yaml.h"
#include "worker/checkpoint/gpt_config_json.h"
#include "worker/gpu/gpt_device_plan.h"
#include "worker/gpu/gpt_device_products.h"
#include "worker/gpu/step_products.h"
#include "worker/tune/tune_table.h"

namespace freshet::worker {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string model, table;
  std::vector<std::string> variables;  // NAME=VALUE
  StepData data;
  GptDeviceShape shape{16, 1024};
  GptDeviceOptions plan;
  size_t head_mib = 1024;
  TuneOptions tuning;
  bool library_only = false;
  int device = 0;
};

Result<std::vector<cuda::ProductShape>> products_of_config(const Options& options) {
  ASSIGN_OR_RETURN(const std::string json, read_file(options.model));
  ASSIGN_OR_RETURN(const auto parsed, std::move(parse_gpt_config(json)).with_context(options.model));
  GptDeviceOptions wanted = options.plan;
  if (parsed.config.compute == GptConfig::Compute::kFloat8 && options.data.has_float8) wanted.float8 = true;
  ASSIGN_OR_RETURN(const auto plan, plan_gpt_device(parsed.config, options.shape, wanted));
  return gpt_device_products(parsed.config, plan);
}

Result<YamlVariables> variables_of(const std::vector<std::string>& given) {
  YamlVariables variables;
  for (const std::string& variable : given) {
    const size_t equals = variable.find('=');
    if (equals == std::string::npos) return invalid_argument("--var " + variable + " is not NAME=VALUE");
    variables[variable.substr(0, equals)] = variable.substr(equals + 1);
  }
  return variables;
}

// Of all train steps in a file of Recipes and Pipelines.
Result<std::vector<cuda::ProductShape>> products_of_recipes(const Options& options) {
  ASSIGN_OR_RETURN(const auto variables, variables_of(options.variables));
  ASSIGN_OR_RETURN(const auto documents, load_document_file(options.model, variables));
  std::vector<cuda::ProductShape> shapes;
  size_t steps = 0;
  for (const Document& document : documents) {
    const auto* recipe = std::get_if<v1::RecipeDocument>(&document.message);
    const auto* pipeline = std::get_if<v1::Pipeline>(&document.message);
    if (recipe == nullptr && pipeline == nullptr) continue;
    for (const v1::Step& step : (recipe != nullptr ? recipe->spec() : pipeline->spec().recipe()).steps()) {
      if (!step.has_train()) continue;
      ++steps;
      ASSIGN_OR_RETURN(
          const auto more,
          products_of_step(step.train(), options.data).with_context(options.model + ", step " + step.name()));
      shapes.insert(shapes.end(), more.begin(), more.end());
    }
  }
  if (steps == 0) return invalid_argument(options.model + " has no recipe with a train step");
  return shapes;
}

bool is_yaml(const fs::path& path) { return path.extension() == ".yaml" || path.extension() == ".yml"; }

void print(const cuda::ProductTable& tuned, const std::string& library) {
  std::printf("%-52s %12s %9s  %s\n", "product", "microseconds", "TFLOP/s", "by");
  for (const auto& entry : tuned.entries) {
    const auto& shape = entry.shape;
    const double operations =
        2 * static_cast<double>(shape.m) * static_cast<double>(shape.n) * static_cast<double>(shape.k);
    std::printf("%-52s %12.1f %9.1f  %s\n", shape.name().c_str(), entry.microseconds,
                operations / (entry.microseconds * 1e6),
                entry.algorithm.starts_with("own-") ? entry.algorithm.c_str() : library.c_str());
  }
}

Status tune(const Options& options) {
  Options on_device = options;
  if (cuda::device_count() > 0) {
    RETURN_IF_ERROR(cuda::use_device(options.device));
    ASSIGN_OR_RETURN(const auto properties, cuda::device_properties());
    on_device.data.has_float8 = cuda::has_float8(properties);
  }
  ASSIGN_OR_RETURN(const auto shapes,
                   is_yaml(options.model) ? products_of_recipes(on_device) : products_of_config(on_device));
  if (cuda::device_count() == 0) return unavailable("there is no CUDA device");
  ASSIGN_OR_RETURN(const auto tuned, tune_into(options.table, shapes, options.tuning));
  print(tuned.added, tuned.whole.library);
  std::printf("%s: %zu products on %s, %zu of them new, digest %s\n", options.table.c_str(), tuned.whole.entries.size(),
              tuned.whole.device.c_str(), tuned.added.entries.size(), tuned.whole.digest().c_str());
  return Status::ok();
}

int main_of(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Times the algorithms of each matrix product of a model on this machine's GPU and writes the fastest into a "
      "table, by which trainings on this GPU go: freshet-agent run --products TABLE.");
  app.footer(
      "The table belongs to the GPU's model and the library's version. What is in it stays; a training keeps its part\n"
      "of it, so that it goes on and is replayed by that, whatever the table says by then.\n"
      "Examples:\n"
      "  freshet-tune recipe.yaml h200.products                 all train steps of a recipe\n"
      "  freshet-tune pipeline.yaml h200.products --var DATA_DIR=/data\n"
      "  freshet-tune recipe.yaml h200.products --vocabulary 48211   what the text gave, where it is less\n"
      "  freshet-tune gpt2/config.json h200.products --sequences 64 --length 1024\n"
      "  freshet-tune gpt2-xl/config.json h200.products --sequences 16 --recompute activations");
  app.add_option("MODEL", options.model,
                 "a file of recipes or pipelines (.yaml), or the config.json of a gpt as Hugging Face has it")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("TABLE", options.table, "is added to when it is there")->required();
  app.add_flag("--again", options.tuning.again, "time what is in the table, too, and put it in its place");
  app.add_flag("--library-only", options.library_only, "choose among the library's algorithms, not our own");
  app.add_option("--device", options.device, "number of the GPU")->capture_default_str();
  auto* recipes = app.add_option_group("Of a .yaml");
  recipes->add_option("--var", options.variables, "NAME=VALUE, for ${NAME} in it; repeatable")->allow_extra_args(false);
  recipes->add_option("--vocabulary", options.data.vocabulary,
                      "tokens of a gpt (default: as many as the recipe wants, which is what enough text gives)");
  recipes->add_option("--classes", options.data.classes, "of a label with the task MULTICLASS, as the data have them");
  auto* config = app.add_option_group("Of a config.json");
  config->add_option("--sequences", options.shape.sequences, "of a micro-batch")->capture_default_str();
  config->add_option("--length", options.shape.length, "tokens of a sequence")->capture_default_str();
  config->add_option("--recompute", options.plan.recompute, "what the backward pass makes once more")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Recompute>{{"nothing", Recompute::kNothing},
                                                                           {"activations", Recompute::kActivations},
                                                                           {"norms", Recompute::kNorms},
                                                                           {"layers", Recompute::kLayers}}));
  config->add_flag("--float8", options.plan.float8,
                   "with the products of layers in 8-bit floats, also of a model that does not compute so");
  config->add_option("--head-mib", options.head_mib, "of logits that exist at a time")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  options.plan.head_bytes = options.head_mib << 20;
  options.tuning.with_own = !options.library_only;
  const Status status = tune(options);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "freshet-tune: %s\n", status.message().c_str());
  return 1;
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) { return freshet::worker::main_of(argc, argv); }
