// How one file format gives columns to EntryFile, in batches: an implementation for Parquet, delimited text and JSON
// lines. What it gives out lives no longer than it. One thread at a time. Messages leave out the file's name, which
// EntryFile puts in front.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/chunked_array.h>
#include <arrow/io/file.h>

#include "base/status.h"
#include "worker/data/entry_file.h"

namespace freshet::worker {

// Rows of each column that was asked for, in that order.
struct EntryFile::RawBatch {
  uint64_t rows = 0;
  std::vector<std::shared_ptr<arrow::ChunkedArray>> columns;
  // As which type the column's values read so far; where the format has no types, that depends on the use.
  std::vector<std::string> types;
};

struct EntryFile::Decoder {
  // The rows of one part, from its first to its last.
  struct Rows {
    virtual ~Rows() = default;
    // None after the last. There is at least one, which may be empty.
    virtual Result<std::optional<RawBatch>> next() = 0;
  };

  virtual ~Decoder() = default;
  // `requests` name columns that are in `column_names` exactly once.
  virtual Result<std::unique_ptr<Rows>> read(size_t part, const std::vector<ColumnRequest>& requests) = 0;

  size_t parts = 1;
  std::vector<std::string> column_names;
};

using EntryBytes = std::shared_ptr<arrow::io::RandomAccessFile>;

Result<std::unique_ptr<EntryFile::Decoder>> open_parquet(EntryBytes file);
// `header`: the columns' names where the file has no line of them; else empty.
Result<std::unique_ptr<EntryFile::Decoder>> open_csv(EntryBytes file, char delimiter,
                                                     const std::vector<std::string>& header);
Result<std::unique_ptr<EntryFile::Decoder>> open_json_lines(EntryBytes file);

}  // namespace freshet::worker
