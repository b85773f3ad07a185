// One data file, read whole, verified against its registered size and SHA-256, and decoded only where asked. Parquet
// is known by its first four bytes, CSV by its name. Owned by its reader, one thread at a time. It keeps Arrow's
// arrays until it is destroyed and does not compare itself with other files (Table does).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/dataset.pb.h"
#include "worker/data/column.h"

namespace arrow {
class ChunkedArray;
}

namespace freshet::worker {

class EntryFile {
 public:
  // Errors begin with the entry's URI: not_found, conflict (the content is not what was registered) or corrupt (empty,
  // truncated, damaged, neither Parquet nor CSV). A column that is missing is no error here.
  static Result<EntryFile> open(const std::filesystem::path& directory, const v1::DatasetEntry& entry,
                                const std::vector<ColumnRequest>& requests);

  uint64_t rows() const;
  // The names of all columns in the file, in its order.
  const std::vector<std::string>& column_names() const;
  bool has_column(const std::string& name) const;

  // A column that was named to open(), with rows() rows. invalid_argument when it is missing (naming those present), is
  // there twice, or can't be used like that; corrupt when its bytes can't be decoded.
  Result<Column> read(const ColumnRequest& request) const;

  // Arrow's name of the column's type as the file has it (CSV: as its values read), and the rows without a value. Also
  // for a column that can't be used as requested.
  struct RawColumn {
    std::string type;
    uint64_t missing = 0;
  };
  Result<RawColumn> describe(const ColumnRequest& request) const;

  EntryFile(EntryFile&&) noexcept;
  EntryFile& operator=(EntryFile&&) noexcept;
  ~EntryFile();

  struct Decoder;

 private:
  EntryFile(std::string uri, std::unique_ptr<Decoder> decoder);
  Result<std::shared_ptr<arrow::ChunkedArray>> raw(const ColumnRequest& request) const;
  std::string uri_;
  std::unique_ptr<Decoder> decoder_;
};

}  // namespace freshet::worker
