#include "worker/data/text_entries.h"

#include "worker/data/entry.h"
#include "worker/data/parallel.h"

namespace freshet::worker {

Status read_text_entry(const std::filesystem::path& directory, const v1::DatasetEntry& entry,
                       const DocumentVisitor& visit) {
  ASSIGN_OR_RETURN(const auto path, entry_path(directory, entry));
  auto read = read_documents(path, visit);
  if (!read.is_ok()) return entry_unreadable(entry, read.status());
  if (read->size == 0) return corrupt("the file is empty").with_context(entry.uri());
  return verify_entry(entry, read->sha256);
}

Result<EntryTokens> read_entry_tokens(const std::filesystem::path& directory, const v1::DatasetEntry& entry,
                                      const Tokenizer& tokenizer) {
  EntryTokens result;
  result.uri = entry.uri();
  RETURN_IF_ERROR(read_text_entry(directory, entry, [&](std::string_view piece, bool begins_document) {
    if (begins_document) {
      ++result.documents;
      result.tokens.push_back(tokenizer.end_of_text());
    }
    result.bytes += piece.size();
    tokenizer.encode(piece, &result.tokens);
    return Status::ok();
  }));
  return result;
}

Result<std::vector<EntryTokens>> read_tokens(const v1::DatasetVersion& data, const Tokenizer& tokenizer,
                                             unsigned threads) {
  ASSIGN_OR_RETURN(const auto directory, source_directory(data.source_uri()));
  std::vector<EntryTokens> entries(static_cast<size_t>(data.entries_size()));
  RETURN_IF_ERROR(for_each_index(entries.size(), threads, [&](size_t index) -> Status {
    ASSIGN_OR_RETURN(entries[index], read_entry_tokens(directory, data.entries(static_cast<int>(index)), tokenizer));
    return Status::ok();
  }));
  return entries;
}

Result<Bpe> learn_vocabulary(const v1::DatasetVersion& data, size_t size) {
  ASSIGN_OR_RETURN(const auto directory, source_directory(data.source_uri()));
  BpeTraining training;
  for (const auto& entry : data.entries()) {
    RETURN_IF_ERROR(read_text_entry(directory, entry, [&](std::string_view piece, bool) {
      training.add(piece);
      return Status::ok();
    }));
  }
  return training.train(size);
}

}  // namespace freshet::worker
