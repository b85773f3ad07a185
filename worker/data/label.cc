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

constexpr int32_t kUnknownClass = -1;

// The class of each of the column's values.
std::vector<int32_t> classes_of(const TextColumn& column, const Classes* known, Classes* found) {
  std::vector<int32_t> classes;
  for (const auto& value : column.values) {
    if (known == nullptr) {
      classes.push_back(found->emplace(value, static_cast<int32_t>(found->size())).first->second);
    } else {
      auto at = known->find(value);
      classes.push_back(at == known->end() ? kUnknownClass : at->second);
    }
  }
  return classes;
}

Result<Labels> read_classes(const v1::Label& label, const Table& table, const Classes* known) {
  ASSIGN_OR_RETURN(const size_t at, table.find(label_request(label)));
  Labels labels;
  Classes found;
  for (const auto& entry : table.entries()) {
    const auto& column = std::get<TextColumn>(entry.columns[at]);
    const auto classes = classes_of(column, known, &found);
    for (const int32_t code : column.codes) {
      const int32_t number = code < 0 ? kUnknownClass : classes[static_cast<size_t>(code)];
      const bool valid = number != kUnknownClass;
      labels.values.push_back(valid ? number : 0);
      labels.valid.push_back(valid ? 1 : 0);
      labels.missing += valid ? 0 : 1;
      labels.unknown += !valid && code >= 0 ? 1 : 0;
    }
  }
  return labels;
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

ColumnRequest label_request(const v1::Label& label) {
  return {label.column(), label.task() == v1::Label::MULTICLASS ? ColumnUse::kText : ColumnUse::kNumber};
}

Result<Labels> read_labels(const v1::Label& label, const Table& table, const Classes* classes) {
  if (label.task() == v1::Label::MULTICLASS) return read_classes(label, table, classes);
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

Result<std::vector<double>> read_weights(const v1::TabularModel& model, const Table& table) {
  std::vector<double> weights;
  if (model.weight_column().empty()) return weights;
  ASSIGN_OR_RETURN(const size_t at, table.find({model.weight_column(), ColumnUse::kNumber}));
  weights.reserve(table.rows());
  for (const auto& entry : table.entries()) {
    const auto& column = std::get<NumberColumn>(entry.columns[at]);
    uint64_t bad = 0;
    for (size_t row = 0; row < entry.rows; ++row) {
      const double weight = column.values[row];
      bad += column.is_valid(row) && std::isfinite(weight) && weight >= 0 ? 0 : 1;
      weights.push_back(weight);
    }
    if (bad > 0) {
      return invalid_argument("weight_column '" + model.weight_column() + "' must be finite and 0 or more; in " +
                              entry.uri + " " + grouped(bad) + " of " + grouped(entry.rows) +
                              " rows have none or another");
    }
  }
  return weights;
}

}  // namespace freshet::worker
