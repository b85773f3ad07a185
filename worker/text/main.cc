// freshet-tokens: text to the files of tokens that a gpt model is trained on, and the vocabulary for it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "worker/text/bpe_training.h"
#include "worker/text/documents.h"
#include "worker/text/token_file.h"
#include "worker/text/tokenizer.h"

namespace freshet::worker {
namespace {

constexpr uint64_t kShardTokens = 100'000'000;

struct Options {
  std::vector<std::string> files;
  std::string tokenizer = "bytes", out, prefix = "tokens";
  size_t vocabulary = 0;
  uint64_t shard_tokens = kShardTokens, from = 0, count = 256;
};

Result<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& name) {
  if (name == "bytes") return byte_tokenizer();
  return read_tokenizer(name);
}

Status train(const Options& options) {
  BpeTraining training;
  for (const auto& file : options.files) {
    auto read = read_documents(file, [&](std::string_view piece, bool) {
      training.add(piece);
      return Status::ok();
    });
    RETURN_IF_ERROR(read.status());
  }
  ASSIGN_OR_RETURN(Bpe bpe, training.train(options.vocabulary));
  const std::filesystem::path out = options.out;
  RETURN_IF_ERROR(make_directories(out));
  RETURN_IF_ERROR(write_file_durably(out / "vocab.json", bpe.encoder_json()));
  RETURN_IF_ERROR(write_file_durably(out / "merges.txt", bpe.vocab_bpe()));
  std::printf("%zu tokens in %s\n", bpe.vocabulary_size(), options.out.c_str());
  if (bpe.vocabulary_size() < options.vocabulary) {
    std::printf("no more than that: no other two tokens stand side by side twice in this text\n");
  }
  return Status::ok();
}

// An end of text stands before each document, as llm.c has it.
Status encode(const Options& options) {
  ASSIGN_OR_RETURN(auto tokenizer, open_tokenizer(options.tokenizer));
  ASSIGN_OR_RETURN(TokenWriter writer, TokenWriter::create(options.out, options.prefix, tokenizer->vocabulary_size(),
                                                           options.shard_tokens));
  std::vector<Token> tokens;
  uint64_t bytes = 0, documents = 0;
  for (const auto& file : options.files) {
    auto read = read_documents(file, [&](std::string_view piece, bool begins_document) {
      tokens.clear();
      if (begins_document) tokens.push_back(tokenizer->end_of_text());
      tokenizer->encode(piece, &tokens);
      bytes += piece.size();
      documents += begins_document ? 1 : 0;
      return writer.write(tokens);
    });
    RETURN_IF_ERROR(read.status());
  }
  ASSIGN_OR_RETURN(auto shards, writer.finish());
  for (const auto& shard : shards) std::printf("%s\n", shard.c_str());
  std::printf("%llu documents, %llu bytes, %llu tokens\n", static_cast<unsigned long long>(documents),
              static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(writer.tokens_written()));
  return Status::ok();
}

Status show(const Options& options) {
  ASSIGN_OR_RETURN(auto tokenizer, open_tokenizer(options.tokenizer));
  for (const auto& file : options.files) {
    ASSIGN_OR_RETURN(TokenFile tokens, TokenFile::open(file));
    const uint64_t begin = std::min(options.from, tokens.size());
    std::vector<Token> shown(std::min(options.count, tokens.size() - begin));
    tokens.read(begin, shown.size(), shown.data());
    ASSIGN_OR_RETURN(std::string text, tokenizer->decode(shown));
    std::printf("%s\n", text.c_str());
  }
  return Status::ok();
}

int main_of(int argc, char** argv) {
  Options options;
  CLI::App app("Text to tokens: learns a vocabulary, and writes the token files that a gpt model is trained on.");
  app.require_subcommand(1);
  app.footer(
      "A .jsonl file holds a document in the field \"text\" of each line; any other file is one document.\n"
      "Examples:\n"
      "  freshet-tokens train --vocabulary 8192 --out vocabulary speeches/*.txt\n"
      "  freshet-tokens encode --tokenizer vocabulary --out tokens speeches/*.txt\n"
      "  freshet-tokens show --tokenizer vocabulary tokens/tokens_000000.bin");
  const std::string of_tokenizer =
      "a directory with vocab.json and merges.txt, or with GPT-2's encoder.json and vocab.bpe; or: bytes";
  auto* train_command = app.add_subcommand("train", "Learn a byte-pair vocabulary from text");
  train_command->add_option("--vocabulary", options.vocabulary, "its tokens, the end of text among them")->required();
  train_command->add_option("--out", options.out, "the directory for vocab.json and merges.txt")->required();
  auto* encode_command = app.add_subcommand("encode", "Write text as files of tokens");
  encode_command->add_option("--tokenizer", options.tokenizer, of_tokenizer)->required();
  encode_command->add_option("--out", options.out, "the directory for the files")->required();
  encode_command->add_option("--prefix", options.prefix, "how their names begin")->capture_default_str();
  encode_command->add_option("--shard-tokens", options.shard_tokens, "the tokens of a file")->capture_default_str();
  auto* show_command = app.add_subcommand("show", "Print a file of tokens as text");
  show_command->add_option("--tokenizer", options.tokenizer, of_tokenizer)->required();
  show_command->add_option("--from", options.from, "the first token, from 0")->capture_default_str();
  show_command->add_option("--count", options.count, "how many")->capture_default_str();
  for (auto* command : {train_command, encode_command, show_command}) {
    command->add_option("FILE", options.files)->required();
  }
  CLI11_PARSE(app, argc, argv);
  const Status status = train_command->parsed()    ? train(options)
                        : encode_command->parsed() ? encode(options)
                                                   : show(options);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "freshet-tokens: %s\n", status.message().c_str());
  return 1;
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) { return freshet::worker::main_of(argc, argv); }
