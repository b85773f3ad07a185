// From Arrow's arrays to Column, for every Arrow type that a use allows. Pure; any thread. Errors say what the values
// are and what was needed; the caller adds the names of column and file.
#pragma once

#include <string>

#include <arrow/chunked_array.h>
#include <arrow/type.h>

#include "base/status.h"
#include "worker/data/column.h"

namespace freshet::worker {

Result<Column> convert_column(const arrow::ChunkedArray& array, const ColumnRequest& request);

// Arrow's name of the type; every encoding of text is "string", and a dictionary is named by its values.
std::string column_type_name(const arrow::DataType& type);

}  // namespace freshet::worker
