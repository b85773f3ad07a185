#include "worker/text/tokenizer.h"

#include "base/file.h"
#include "worker/text/bpe.h"

namespace freshet::worker {

Result<Bpe> read_bpe(const std::filesystem::path& directory) {
  auto vocabulary = read_file(directory / "encoder.json");
  auto merges = read_file(directory / "vocab.bpe");
  if (vocabulary.status().code() == Code::kNotFound) {
    vocabulary = read_file(directory / "vocab.json");
    merges = read_file(directory / "merges.txt");
  }
  RETURN_IF_ERROR(vocabulary.status());
  RETURN_IF_ERROR(merges.status());
  return Bpe::parse(*vocabulary, *merges).with_context(directory.string());
}

Result<std::unique_ptr<Tokenizer>> read_tokenizer(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(Bpe bpe, read_bpe(directory));
  return std::unique_ptr<Tokenizer>(std::make_unique<Bpe>(std::move(bpe)));
}

}  // namespace freshet::worker
