// How one file format gives columns to EntryFile: an implementation for Parquet and one for CSV. One thread at a time.
// Messages leave out the file's name, which EntryFile puts in front.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/chunked_array.h>

#include "base/status.h"
#include "worker/data/entry_file.h"

namespace freshet::worker {

struct EntryFile::Decoder {
  virtual ~Decoder() = default;
  // The file's column of the request, whose name is in `column_names` exactly once.
  virtual Result<std::shared_ptr<arrow::ChunkedArray>> column(const ColumnRequest& request) = 0;
  // Where the format itself has no types, the type that the values read as for this use.
  virtual std::string type_name(const arrow::DataType& type, ColumnUse use) const = 0;

  uint64_t rows = 0;
  std::vector<std::string> column_names;
};

Result<std::unique_ptr<EntryFile::Decoder>> open_parquet(std::string bytes, const std::vector<ColumnRequest>& requests);
Result<std::unique_ptr<EntryFile::Decoder>> open_csv(std::string bytes, char delimiter,
                                                     const std::vector<ColumnRequest>& requests);

}  // namespace freshet::worker
