// The type of a column of text that is read block by block: each block has one of its own. Pure; any thread.
#pragma once

#include <memory>

#include <arrow/type.h>

namespace freshet::worker {

// What Arrow would take both blocks' values for, read at once. Either may be null: no block was read.
std::shared_ptr<arrow::DataType> type_of_both(const std::shared_ptr<arrow::DataType>& a,
                                              const std::shared_ptr<arrow::DataType>& b);

}  // namespace freshet::worker
