// Columns of text that are read block by block: each block has a type of its own, or none. Pure; any thread.
#pragma once

#include <memory>

#include <arrow/chunked_array.h>
#include <arrow/type.h>

#include "base/status.h"

namespace freshet::worker {

// What Arrow would take both blocks' values for, read at once. Either may be null: no block was read.
std::shared_ptr<arrow::DataType> type_of_both(const std::shared_ptr<arrow::DataType>& a,
                                              const std::shared_ptr<arrow::DataType>& b);

// A column of this many rows, all of them missing.
Result<std::shared_ptr<arrow::ChunkedArray>> missing_column(const std::shared_ptr<arrow::DataType>& type, int64_t rows);

}  // namespace freshet::worker
