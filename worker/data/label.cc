#include "worker/data/label.h"

#include <cmath>
#include <cstdio>
#include <optional>

namespace freshet::worker {
namespace {

Status check_binary(const NumberColumn& column, const std::string& name, const Table::Entry& entry) {
  uint64_t count = 0;
  std::optional<double> example;
  for (size_t row = 0; row < column.values.size(); ++row) {
    const double value = column.values[row];
    if (!column.is_valid(row) || value == 0 || value == 1) continue;
    ++count;
    if (!example) example = value;
  }
  if (count == 0) return Status::ok();
  return invalid_argument("label '" + name + "' must be 0 or 1 where the recipe sets no positive_above; in " +
                          entry.uri + " " + grouped(count) + " of " + grouped(entry.rows) +
                          " rows have other values, " + "for example " + short_number(*example));
}

}  // namespace

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

std::string grouped(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

Status check_finite(const NumberColumn& column, const std::string& name, const std::string& entry) {
  uint64_t count = 0;
  for (double value : column.values) count += std::isfinite(value) ? 0 : 1;
  if (count == 0) return Status::ok();
  return invalid_argument("column '" + name + "' has " + grouped(count) + " NaN or infinite " +
                          (count == 1 ? "value" : "values") + " among the " + grouped(column.values.size()) +
                          " rows of " + entry);
}

ColumnRequest label_request(const v1::Label& label) { return {label.column(), ColumnUse::kNumber}; }

Result<Labels> read_labels(const v1::Label& label, const Table& table) {
  ASSIGN_OR_RETURN(const size_t at, table.find(label_request(label)));
  const bool binary = label.task() == v1::Label::BINARY;
  Labels labels;
  labels.values.reserve(table.rows());
  labels.valid.reserve(table.rows());
  for (const auto& entry : table.entries()) {
    const auto& column = std::get<NumberColumn>(entry.columns[at]);
    RETURN_IF_ERROR(check_finite(column, label.column(), entry.uri));
    if (binary && !label.has_positive_above()) RETURN_IF_ERROR(check_binary(column, label.column(), entry));
    for (size_t row = 0; row < entry.rows; ++row) {
      const bool valid = column.is_valid(row);
      double value = valid ? column.values[row] : 0;
      if (valid && binary && label.has_positive_above()) value = value > label.positive_above() ? 1 : 0;
      labels.values.push_back(value);
      labels.valid.push_back(valid ? 1 : 0);
      labels.missing += valid ? 0 : 1;
    }
  }
  return labels;
}

}  // namespace freshet::worker
