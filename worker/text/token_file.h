// Files of tokens as llm.c reads them: a header of 256 int32 (magic, version, number of tokens), then the tokens, 16
// bits each for vocabularies of up to 65,536 (magic 20240520, version 1) and 32 bits for larger ones (magic 20240801,
// version 7). Little endian. A data set is one or more such files, its shards.
// Source of the format: llm.c, dev/data/data_common.py.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "worker/text/tokenizer.h"

namespace freshet::worker {

// Tokens of one file, mapped into memory: opening reads the header only. Immutable; any thread.
class TokenFile {
 public:
  // not_found, or corrupt with what is wrong: another magic, a length that does not fit the number of tokens.
  static Result<TokenFile> open(const std::filesystem::path& path);

  uint64_t size() const { return size_; }
  // Tokens [begin, begin + count) into `tokens`; the range must lie in the file.
  void read(uint64_t begin, size_t count, Token* tokens) const;

 private:
  TokenFile() = default;
  std::shared_ptr<const char> bytes_;  // the mapping
  uint64_t size_ = 0;
  bool wide_ = false;
};

// Writes shards PREFIX_000000.bin, PREFIX_000001.bin, ... into a directory, each of `shard_tokens` tokens but the last.
// A shard has its name only when it is whole and on disk. Memory is bounded by a small buffer. One thread.
class TokenWriter {
 public:
  // `vocabulary_size` decides on the width. invalid_argument when `shard_tokens` is 0 or more than the header can say.
  static Result<TokenWriter> create(std::filesystem::path directory, std::string prefix, size_t vocabulary_size,
                                    uint64_t shard_tokens);

  Status write(std::span<const Token> tokens);
  // The shards' paths in order. Nothing may be written after it.
  Result<std::vector<std::filesystem::path>> finish();
  uint64_t tokens_written() const { return tokens_written_; }

  TokenWriter(TokenWriter&&) noexcept = default;
  // Removes a shard that is not whole.
  ~TokenWriter();

 private:
  TokenWriter() = default;
  Status begin_shard();
  Status end_shard();
  Status flush();
  std::filesystem::path unfinished_path() const;

  std::filesystem::path directory_;
  std::string prefix_;
  bool wide_ = false;
  uint64_t shard_tokens_ = 0;
  Fd file_;
  std::string buffer_;
  uint64_t in_shard_ = 0, tokens_written_ = 0;
  std::vector<std::filesystem::path> shards_;
};

}  // namespace freshet::worker
