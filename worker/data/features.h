// What the features of a recipe mean: which raw column each needs, and what is derived from a time. Pure; any thread.
// Used by fitting (fit.h) and encoding (transform.h), which must never differ in this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>

#include "base/status.h"
#include "proto/recipe.pb.h"
#include "worker/data/column.h"
#include "worker/data/table.h"

namespace freshet::worker {

inline constexpr size_t kDerivedValues = 24;  // no derived feature has more values

bool is_categorical(const v1::Feature& feature);
ColumnRequest feature_request(const v1::Feature& feature);

// HOUR_OF_DAY or DAY_OF_WEEK of an instant, below kDerivedValues.
size_t derived(v1::Feature::Derive derive, int64_t time_us);

// The model with every default in its place, so that two ways to write the same recipe compare equal.
v1::TabularModel normalised(v1::TabularModel model);

// invalid_argument for a model that can't be learned whatever the data: no features, an unset kind or task, a label
// among the features.
Status check_model(const v1::TabularModel& model);

// check_finite (label.h) over all entries of the number column at `at`.
Status check_all_finite(const Table& table, size_t at, const std::string& name);

// Calls visit(entry's column, first row of the entry in the table) for every entry.
template <class ColumnType, class Visit>
void for_each_entry(const Table& table, size_t at, Visit visit) {
  size_t first = 0;
  for (const auto& entry : table.entries()) {
    visit(std::get<ColumnType>(entry.columns[at]), first);
    first += entry.rows;
  }
}

}  // namespace freshet::worker
