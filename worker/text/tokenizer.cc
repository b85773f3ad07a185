#include "worker/text/tokenizer.h"

#include "base/file.h"
#include "worker/text/bpe.h"

namespace freshet::worker {

Result<std::unique_ptr<Tokenizer>> read_tokenizer(const std::filesystem::path& directory) {
  auto vocabulary = read_file(directory / "encoder.json");
  auto merges = read_file(directory / "vocab.bpe");
  if (vocabulary.status().code() == Code::kNotFound) {
    vocabulary = read_file(directory / "vocab.json");
    merges = read_file(directory / "merges.txt");
  }
  RETURN_IF_ERROR(vocabulary.status());
  RETURN_IF_ERROR(merges.status());
  auto bpe = Bpe::parse(*vocabulary, *merges).with_context(directory.string());
  if (!bpe.is_ok()) return bpe.status();
  return std::unique_ptr<Tokenizer>(std::make_unique<Bpe>(*std::move(bpe)));
}

}  // namespace freshet::worker
