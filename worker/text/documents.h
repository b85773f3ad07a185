// The documents of a text file, one after another, in pieces of bounded size: a .jsonl file has one in the field "text"
// of each line, any other file is one document. Reads each file once from its begin; one thread at a time.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "base/file.h"
#include "base/status.h"

namespace freshet::worker {

// What is read at once, and so the memory it takes; a line of .jsonl and a stretch of text without a cut may be longer,
// up to kPieceBytesMax.
inline constexpr size_t kPieceBytes = 4 << 20;
inline constexpr size_t kPieceBytesMax = 256 << 20;

using DocumentVisitor = std::function<Status(std::string_view piece, bool begins_document)>;

// Pieces are cut where no word is (words.h), so that their tokens are those of the whole. Gives the digest of what was
// read. invalid_argument names file and line: not JSON, no string "text", or a piece that would be too long.
Result<FileDigest> read_documents(const std::filesystem::path& path, const DocumentVisitor& visit,
                                  size_t piece_bytes = kPieceBytes);

}  // namespace freshet::worker
