// The raw columns of some rows of a dataset, entry by entry in the order given. Immutable. It knows nothing of files
// (TableStream does), features and labels (Transform does).
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "proto/dataset.pb.h"
#include "worker/data/column.h"

namespace freshet::worker {

class Table {
 public:
  struct Entry {
    std::string uri;
    size_t rows = 0;
    std::vector<Column> columns;  // in the order of requests()
  };

  // Each entry holds one column for every request.
  Table(std::vector<ColumnRequest> requests, std::vector<Entry> entries);

  const std::vector<ColumnRequest>& requests() const { return requests_; }
  const std::vector<Entry>& entries() const { return entries_; }
  size_t rows() const { return rows_; }

  // Where a column is in Entry::columns; invalid_argument when the table was read without it.
  Result<size_t> find(const ColumnRequest& request) const;

 private:
  std::vector<ColumnRequest> requests_;
  std::vector<Entry> entries_;
  size_t rows_ = 0;
};

// Both lists without doubles, sorted.
std::vector<ColumnRequest> merged_requests(std::vector<ColumnRequest> a, const std::vector<ColumnRequest>& b);

// `data` without the entries of these URIs, or with them only (a split in training and holdout). The digest is empty in
// what is returned. invalid_argument names a URI that is not in `data`.
Result<v1::DatasetVersion> without_entries(const v1::DatasetVersion& data, const std::vector<std::string>& uris);
Result<v1::DatasetVersion> only_entries(const v1::DatasetVersion& data, const std::vector<std::string>& uris);

}  // namespace freshet::worker
