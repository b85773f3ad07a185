// The label of each row of a Table, in raw units, by the rules of the recipe. Pure; any thread. Which rows have a label
// and what it is does not depend on any model, so that two models can be compared on the same rows.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "proto/recipe.pb.h"
#include "worker/data/column.h"
#include "worker/data/table.h"

namespace freshet::worker {

struct Labels {
  std::vector<double> values;  // [row] BINARY: 0 or 1; REGRESSION: the value; MULTICLASS: the class; 0 where missing
  std::vector<uint8_t> valid;  // [row] 0: missing, or of a class that is not known
  size_t missing = 0;          // how many are not valid
  size_t unknown = 0;          // how many of those are of a class that is not known
};

// The numbers of a MULTICLASS label's values.
using Classes = std::unordered_map<std::string, int32_t>;

ColumnRequest label_request(const v1::Label& label);

// invalid_argument names column, entry and count for NaN or infinite values, and for values other than 0 and 1 where
// BINARY has no `positive_above`. Of MULTICLASS `classes` says what is known; where it is null, values are numbered in
// the order of their first use in the table.
Result<Labels> read_labels(const v1::Label& label, const Table& table, const Classes* classes);

// How much each row counts, from the model's weight_column; empty when it has none. invalid_argument names column,
// entry and count for weights that are missing, negative, NaN or infinite.
Result<std::vector<double>> read_weights(const v1::TabularModel& model, const Table& table);

// "column 'x' has 3 NaN or infinite values among the 1,234 rows of a.parquet", or ok.
Status check_finite(const NumberColumn& column, const std::string& name, const std::string& entry);
// "1,234"
std::string grouped(uint64_t number);
// At most six digits: "3.5".
std::string short_number(double value);

}  // namespace freshet::worker
