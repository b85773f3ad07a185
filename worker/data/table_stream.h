// The rows of a dataset's entries in batches, so that data of any size takes the memory of a few batches. The entries
// are in parts (see EntryFile) that several threads read at a time; the rows of the parts, one after the other, are the
// dataset's rows. It may be read again, and gives the same each time. It knows nothing of features and labels
// (Transform does).
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/dataset.pb.h"
#include "worker/data/column.h"
#include "worker/data/entry_file.h"
#include "worker/data/table.h"

namespace freshet::worker {

class TableStream {
 public:
  // Looks at all entries of `data` below its source_uri and verifies them. The error of the first entry that has one:
  // see EntryFile.
  static Result<TableStream> open(const v1::DatasetVersion& data, ColumnSet columns, unsigned threads);

  size_t parts() const { return parts_.size(); }
  size_t entry_of(size_t part) const { return parts_[part].entry; }
  const v1::DatasetVersion& data() const { return data_; }

  // Calls visit(part, batch) for all batches: of one part in their order from one thread, of different parts from up to
  // `threads` at a time. A batch is a table of one entry. The error of the first part that has one; a column that is
  // missing or can't be used is one.
  Status for_each(unsigned threads, const std::function<Status(size_t part, const Table& batch)>& visit) const;

 private:
  struct Part {
    size_t entry = 0;
    size_t part = 0;  // of the entry
  };
  TableStream() = default;

  v1::DatasetVersion data_;
  std::filesystem::path directory_;
  ColumnSet columns_;
  std::vector<EntryFile::Identity> identities_;  // [entry]
  std::vector<Part> parts_;
};

}  // namespace freshet::worker
