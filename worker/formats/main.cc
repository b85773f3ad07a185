// freshet-model: looks at models, lets them write, and brings them in from and out to the formats of others.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>

#include "base/file.h"
#include "worker/checkpoint/gpt_artifact.h"
#include "worker/checkpoint/manifest.h"
#include "worker/checkpoint/model_artifact.h"
#include "worker/formats/hugging_face.h"
#include "worker/formats/llmc.h"
#include "worker/formats/onnx.h"
#include "worker/model/sampling.h"

namespace freshet::worker {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string from, to, tokenizer, prompt;
  size_t tokens = 256;
  unsigned threads = std::max(1U, std::thread::hardware_concurrency());
  SamplingOptions sampling;
  bool bfloat16 = false;
};

void print_tensors(const std::vector<TensorView>& tensors) {
  size_t count = 0;
  for (const auto& tensor : tensors) count += tensor.size;
  std::printf("parameters      %zu in %zu tensors\n", count, tensors.size());
  for (const auto& tensor : tensors) std::printf("  %s %s\n", tensor.name.c_str(), shape_text(tensor.shape).c_str());
}

void print_gpt(const GptArtifact& artifact) {
  const GptConfig& config = artifact.model.config();
  std::printf("style           %s\n", config.style == GptConfig::Style::kLlama ? "Llama" : "GPT-2");
  std::printf("layers          %u\nheads           %u (%u of keys and values)\nwidth           %u\n", config.layers,
              config.heads, config.kv_heads, config.width);
  std::printf("feed-forward    %u\ncontext         %u tokens\n", config.feed_forward, config.context);
  std::printf("vocabulary      %u %s\n", config.vocabulary,
              artifact.tokenizer.vocabulary() == nullptr ? "tokens: bytes and the end of text" : "byte pairs");
  print_tensors(artifact.model.tensors());
}

void print_tabular(const ModelArtifact& artifact) {
  const TabularShape& shape = artifact.model.shape();
  std::printf("label           %s\n", artifact.transform.model().label().column().c_str());
  for (const auto& feature : shape.categorical) {
    std::printf("categorical     %s (%u codes, %u wide)\n", feature.name.c_str(), feature.codes, feature.dim);
  }
  std::printf("numeric         %zu\n", shape.numeric);
  print_tensors(artifact.model.tensors());
}

Status info(const Options& options) {
  ASSIGN_OR_RETURN(auto manifest, read_manifest(fs::path(options.from) / kManifest));
  const auto& checkpoint = manifest.checkpoint();
  std::printf("family          %s\n", checkpoint.family().c_str());
  std::printf("weights digest  %s\n", checkpoint.weights_digest().c_str());
  std::printf("trained         %llu steps, seed %llu\n", static_cast<unsigned long long>(checkpoint.step()),
              static_cast<unsigned long long>(checkpoint.seed()));
  if (checkpoint.family() == kGptFamily) {
    ASSIGN_OR_RETURN(auto artifact, load_gpt(options.from));
    print_gpt(artifact);
    return Status::ok();
  }
  ASSIGN_OR_RETURN(auto artifact, load_model(options.from));
  print_tabular(artifact);
  return Status::ok();
}

Status sample(const Options& options) {
  ASSIGN_OR_RETURN(auto artifact, load_gpt(options.from));
  const Tokenizer& tokenizer = artifact.tokenizer.get();
  std::vector<Token> text{tokenizer.end_of_text()};
  tokenizer.encode(options.prompt, &text);
  std::fputs(options.prompt.c_str(), stdout);
  Status status =
      continue_text(artifact, std::move(text), options.tokens, options.sampling, options.threads, [&](Token token) {
        ASSIGN_OR_RETURN(std::string piece, tokenizer.decode(std::span(&token, 1)));
        std::fwrite(piece.data(), 1, piece.size(), stdout);
        std::fflush(stdout);
        return Status::ok();
      });
  std::fputs("\n", stdout);
  return status;
}

Status import(const Options& options, Result<GptArtifact> (*read)(const fs::path&, const std::string&)) {
  fs::path to = fs::absolute(options.to);
  if (!to.has_filename()) to = to.parent_path();
  std::error_code error;
  if (fs::exists(to, error)) return already_exists(to.string() + " is there already: name a new directory");
  ASSIGN_OR_RETURN(GptArtifact artifact, read(options.from, options.tokenizer));
  v1::CheckpointInfo checkpoint;
  checkpoint.set_initial_weights_digest(weights_digest(artifact.model.tensors(), artifact.parameters.data()));
  ASSIGN_OR_RETURN(auto made, save_gpt(to.parent_path(), artifact.tokenizer, artifact.model,
                                       {artifact.parameters, {}, {}}, checkpoint, to.filename()));
  std::printf("%zu parameters in %s\n", artifact.parameters.size(), made.path().c_str());
  return Status::ok();
}

Status export_llmc(const Options& options) {
  ASSIGN_OR_RETURN(auto artifact, load_gpt(options.from));
  return write_llmc(options.to, artifact.model, artifact.parameters,
                    options.bfloat16 ? LlmcNumbers::kBfloat16 : LlmcNumbers::kFloat32);
}

Status export_onnx(const Options& options) {
  ASSIGN_OR_RETURN(auto artifact, load_model(options.from));
  ASSIGN_OR_RETURN(std::string bytes, to_onnx(artifact));
  return write_file_durably(options.to, bytes);
}

void add_import(CLI::App* command, Options* options, const std::string& from) {
  command->add_option(from, options->from)->required();
  command->add_option("OUT", options->to, "the new directory for the model")->required();
  command->add_option(
      "--tokenizer", options->tokenizer,
      "a directory with vocab.json and merges.txt, or with GPT-2's encoder.json and vocab.bpe; or: bytes");
}

int main_of(int argc, char** argv) {
  Options options;
  CLI::App app("Looks at models, lets them write, and converts them from and to other formats.");
  app.require_subcommand(1);
  app.footer(
      "A model of the family gpt is a directory that Hugging Face's transformers loads as it is.\n"
      "Examples:\n"
      "  freshet-model info model\n"
      "  freshet-model sample model --prompt 'Fellow citizens' --tokens 100 --temperature 0.8 --top-k 50 --seed 7\n"
      "  freshet-model import hf gpt2 model\n"
      "  freshet-model import llmc gpt2_124M.bin model --tokenizer gpt2\n"
      "  freshet-model export llmc model gpt2_124M_bf16.bin --bf16\n"
      "  freshet-model export onnx model model.onnx");
  auto* info_command = app.add_subcommand("info", "Verify a model and print what it is");
  info_command->add_option("DIR", options.from, "a model's directory")->required();

  auto* sample_command = app.add_subcommand("sample", "Let a gpt go on with a text; the same seed, the same text");
  sample_command->add_option("DIR", options.from, "a model's directory")->required();
  sample_command->add_option("--prompt", options.prompt, "the text to go on with")->required();
  sample_command->add_option("--tokens", options.tokens, "how many at most")->capture_default_str();
  sample_command->add_option("--temperature", options.sampling.temperature, "0: always the likeliest token")
      ->capture_default_str();
  sample_command->add_option("--top-k", options.sampling.top_k, "only so many of the likeliest tokens; 0: all")
      ->capture_default_str();
  sample_command->add_option("--top-p", options.sampling.top_p, "only the likeliest with this probability together")
      ->capture_default_str();
  sample_command->add_option("--seed", options.sampling.seed)->capture_default_str();
  sample_command->add_option("--threads", options.threads, "they do not change the text")->capture_default_str();

  auto* import_command = app.add_subcommand("import", "Make a model of another program's");
  import_command->require_subcommand(1);
  auto* hf = import_command->add_subcommand("hf", "A GPT-2 or Llama that Hugging Face's transformers saved");
  add_import(hf, &options, "DIR");
  auto* from_llmc = import_command->add_subcommand("llmc", "A model_*.bin of llm.c; needs --tokenizer");
  add_import(from_llmc, &options, "FILE");
  from_llmc->get_option("--tokenizer")->required();

  auto* export_command = app.add_subcommand("export", "Write a model for another program");
  export_command->require_subcommand(1);
  auto* to_llmc = export_command->add_subcommand("llmc", "A gpt of the GPT-2 style for llm.c");
  to_llmc->add_flag("--bf16", options.bfloat16, "rounded to bfloat16 (version 5); else float32 (version 3)");
  auto* to_onnx = export_command->add_subcommand(
      "onnx", "A tabular model as a graph over encoded features; their vocabularies stay in transform.json");
  for (auto* command : {to_llmc, to_onnx}) {
    command->add_option("DIR", options.from, "a model's directory")->required();
    command->add_option("FILE", options.to, "is replaced when it is there")->required();
  }
  CLI11_PARSE(app, argc, argv);
  const Status status = info_command->parsed()     ? info(options)
                        : sample_command->parsed() ? sample(options)
                        : hf->parsed()             ? import(options, read_hugging_face)
                        : from_llmc->parsed()      ? import(options, read_llmc)
                        : to_llmc->parsed()        ? export_llmc(options)
                                                   : export_onnx(options);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "freshet-model: %s\n", status.message().c_str());
  return 1;
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) { return freshet::worker::main_of(argc, argv); }
