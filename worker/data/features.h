// What the features of a recipe mean: which raw column each needs, what is derived from it, and the codes of values
// that are hashed. Pure; any thread. Used by fitting (fit.h) and encoding (transform.h), which must never differ in
// this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <variant>

#include "base/status.h"
#include "proto/recipe.pb.h"
#include "worker/data/column.h"
#include "worker/data/table.h"

namespace freshet::worker {

inline constexpr size_t kDerivedValues = 24;  // no derived feature has more values

bool is_categorical(const v1::Feature& feature);
ColumnRequest feature_request(const v1::Feature& feature);

// Whether the feature is derived from a time.
bool is_of_time(const v1::Feature& feature);
// Of a NUMERIC feature, how many inputs of the model it is.
size_t width_of(const v1::Feature& feature);

// HOUR_OF_DAY or DAY_OF_WEEK of an instant, below kDerivedValues.
size_t derived(v1::Feature::Derive derive, int64_t time_us);
// What a NUMERIC feature that is not of a time makes of its column's number.
double derived(v1::Feature::Derive derive, double number);

// The code, from 1, of a value of a feature with this many hash_buckets: FNV-1a of its bytes (64 bits, offset basis
// 0xcbf29ce484222325, prime 0x100000001b3), finished by the mixing of SplitMix64 (Steele, Lea and Flood, "Fast
// splittable pseudorandom number generators", OOPSLA 2014), modulo `buckets`, plus 1. The same for ever: models depend
// on it.
int32_t hashed_code(std::string_view value, uint32_t buckets);

// Calls visit(value) for each value of a text cell: all of it, or what lies between the feature's separators and is not
// empty.
template <class Visit>
void for_each_value(const v1::Feature& feature, std::string_view text, Visit visit) {
  const std::string& separator = feature.separator();
  if (separator.empty()) return visit(text);
  while (true) {
    const size_t end = text.find(separator);
    if (!text.substr(0, end).empty()) visit(text.substr(0, end));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + separator.size());
  }
}

// The model with every default in its place, so that two ways to write the same recipe compare equal.
v1::TabularModel normalised(v1::TabularModel model);

// invalid_argument for a model that can't be learned whatever the data: no features, an unset kind or task, a label
// among the features, fields of another kind of feature.
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
