// Entries that are text (.txt, .jsonl and the like; worker/text/documents.h says what a document is), verified while
// they are read. Blocking; any thread. What is kept takes 4 bytes a token; a text itself is never held as a whole.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "proto/dataset.pb.h"
#include "worker/text/bpe_training.h"
#include "worker/text/documents.h"
#include "worker/text/tokenizer.h"

namespace freshet::worker {

// Errors begin with the entry's URI: not_found, conflict (the content is not what was registered), corrupt (empty) or
// what read_documents() finds wrong. Pieces may have been visited before the content shows to be another.
Status read_text_entry(const std::filesystem::path& directory, const v1::DatasetEntry& entry,
                       const DocumentVisitor& visit);

struct EntryTokens {
  std::string uri;
  uint64_t bytes = 0;  // of text
  uint64_t documents = 0;
  std::vector<Token> tokens;  // an end of text before each document
};

Result<EntryTokens> read_entry_tokens(const std::filesystem::path& directory, const v1::DatasetEntry& entry,
                                      const Tokenizer& tokenizer);

// Of every entry of `data`, in its order; the same for any number of threads.
Result<std::vector<EntryTokens>> read_tokens(const v1::DatasetVersion& data, const Tokenizer& tokenizer,
                                             unsigned threads);

// A byte-pair vocabulary of at most `size` tokens, learnt from all entries of `data`.
Result<Bpe> learn_vocabulary(const v1::DatasetVersion& data, size_t size);

}  // namespace freshet::worker
