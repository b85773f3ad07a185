// One data file, verified against its registered size and SHA-256, and decoded in batches where asked. Parquet is known
// by its first four bytes, delimited text (.csv, .tsv) and JSON lines (.jsonl) by their names. Owned by its reader, one
// thread at a time; several may have the same file open. It does not compare itself with other files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/dataset.pb.h"
#include "worker/data/column.h"

namespace freshet::worker {

class EntryFile {
 public:
  // What a file is known again by, as long as nobody writes to it.
  struct Identity {
    uint64_t inode = 0, size = 0;
    int64_t changed_ns = 0;

    bool operator==(const Identity&) const = default;
  };

  // Verifies the whole content. Errors begin with the entry's URI: not_found, conflict (the content is not what was
  // registered) or corrupt (empty, truncated, damaged, of no known format). A column that is missing is no error here.
  // `header` names the columns of delimited text without a line of names.
  static Result<EntryFile> open(const std::filesystem::path& directory, const v1::DatasetEntry& entry,
                                const std::vector<std::string>& header);
  // Without verifying it again. conflict when it is another file now, or was written to.
  static Result<EntryFile> reopen(const std::filesystem::path& directory, const v1::DatasetEntry& entry,
                                  const std::vector<std::string>& header, const Identity& known);

  const Identity& identity() const { return identity_; }
  // The names of all columns in the file, in its order. Of JSON lines, those of the first 8 MiB.
  const std::vector<std::string>& column_names() const;
  bool has_column(const std::string& name) const;
  // Runs of rows that can be read apart from each other; at least one.
  size_t parts() const;

  // invalid_argument when a column is missing (naming those present) or is there twice.
  Status check_columns(const std::vector<ColumnRequest>& requests) const;

  // Rows of the columns asked for, as the file has them, of a bounded number of values (kBatchValues).
  struct RawBatch;

  // The rows of one part, in batches. The file must live as long.
  class Rows {
   public:
    // None after the last; the first may be empty. corrupt when bytes can't be decoded; conflict when the file was
    // written to meanwhile.
    Result<bool> next();
    uint64_t rows() const;
    // The column of request `i` of this batch. invalid_argument when it can't be used like that.
    Result<Column> column(size_t i) const;
    // Arrow's name of its type as the file has it (of text formats: as the values so far read), and how many values of
    // this batch are missing. Also of a column that can't be used as requested.
    std::string type(size_t i) const;
    uint64_t missing(size_t i) const;

    Rows(Rows&&) noexcept;
    ~Rows();

   private:
    friend class EntryFile;
    struct Impl;
    explicit Rows(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
  };
  // See check_columns.
  Result<Rows> read(size_t part, const std::vector<ColumnRequest>& requests) const;

  EntryFile(EntryFile&&) noexcept;
  EntryFile& operator=(EntryFile&&) noexcept;
  ~EntryFile();

  struct Decoder;

 private:
  EntryFile(std::filesystem::path path, std::string uri, const Identity& identity, std::unique_ptr<Decoder> decoder);
  static Result<EntryFile> open_as(const std::filesystem::path& path, const v1::DatasetEntry& entry,
                                   const std::vector<std::string>& header, const Identity& identity);
  std::filesystem::path path_;
  std::string uri_;
  Identity identity_;
  std::unique_ptr<Decoder> decoder_;
};

// Values of all columns of a batch together, about; at most 65,536 rows. Text formats give what is in 8 MiB.
inline constexpr size_t kBatchValues = size_t{1} << 20;
inline constexpr size_t kBatchRows = size_t{1} << 16;
inline constexpr size_t kBatchBytes = size_t{8} << 20;

}  // namespace freshet::worker
