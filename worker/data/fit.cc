#include "worker/data/fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "worker/data/features.h"
#include "worker/data/label.h"

namespace freshet::worker {
namespace {

// Sums and squares in row order and double precision: one order whatever the threads.
class Moments {
 public:
  explicit Moments(size_t rows) { values_.reserve(rows); }
  void add(double value) { values_.push_back(value); }

  v1::Scaling scaling() const {
    v1::Scaling scaling;
    scaling.set_scale(1);
    if (values_.empty()) return scaling;
    const auto count = static_cast<double>(values_.size());
    double sum = 0;
    for (double value : values_) sum += value;
    const double mean = sum / count;
    double squares = 0;
    for (double value : values_) squares += (value - mean) * (value - mean);
    const double deviation = std::sqrt(squares / count);
    scaling.set_mean(mean);
    // A column of one value tells nothing; it becomes 0 everywhere.
    if (std::isfinite(deviation) && deviation > 0) scaling.set_scale(deviation);
    return scaling;
  }

 private:
  std::vector<double> values_;
};

void collect_words(const Table& table, size_t at, const std::vector<uint8_t>& kept,
                   std::unordered_set<std::string>* words) {
  for_each_entry<TextColumn>(table, at, [&](const TextColumn& column, size_t first) {
    std::vector<uint8_t> used(column.values.size());
    for (size_t row = 0; row < column.codes.size(); ++row) {
      if (kept[first + row] && column.codes[row] >= 0) used[static_cast<size_t>(column.codes[row])] = 1;
    }
    for (size_t word = 0; word < used.size(); ++word) {
      if (used[word]) words->insert(column.values[word]);
    }
  });
}

void collect_derived(const Table& table, size_t at, v1::Feature::Derive derive, const std::vector<uint8_t>& kept,
                     std::unordered_set<std::string>* words) {
  std::array<bool, kDerivedValues> used{};
  for_each_entry<TimeColumn>(table, at, [&](const TimeColumn& column, size_t first) {
    for (size_t row = 0; row < column.values.size(); ++row) {
      if (kept[first + row] && column.is_valid(row)) used[derived(derive, column.values[row])] = true;
    }
  });
  for (size_t value = 0; value < used.size(); ++value) {
    if (used[value]) words->insert(std::to_string(value));
  }
}

// What `previous` knows stays where it is; what is new follows, sorted by bytes.
v1::Vocabulary extended(const v1::Vocabulary* previous, std::unordered_set<std::string> words) {
  v1::Vocabulary vocabulary;
  if (previous != nullptr) {
    vocabulary = *previous;
    for (const auto& word : previous->words()) words.erase(word);
  }
  std::vector<std::string> fresh(words.begin(), words.end());
  std::sort(fresh.begin(), fresh.end());
  for (auto& word : fresh) vocabulary.add_words(std::move(word));
  return vocabulary;
}

Status check_label_varies(const v1::Label& label, const Labels& labels, size_t entries) {
  std::optional<double> first;
  uint64_t rows = 0;
  bool varies = false;
  for (size_t row = 0; row < labels.values.size(); ++row) {
    if (!labels.valid[row]) continue;
    ++rows;
    if (!first) first = labels.values[row];
    varies = varies || labels.values[row] != *first;
  }
  if (rows == 0) {
    return invalid_argument("there are no rows to train on: label '" + label.column() + "' is missing in all " +
                            grouped(labels.values.size()) + " rows of " + grouped(entries) +
                            (entries == 1 ? " entry" : " entries"));
  }
  if (varies) return Status::ok();
  return invalid_argument("label '" + label.column() + "' is constant (all " + short_number(*first) + ") over " +
                          grouped(rows) + " training " + (rows == 1 ? "row" : "rows"));
}

Result<v1::Scaling> fit_scaling(const v1::Feature& feature, const Table& table, size_t at,
                                const std::vector<uint8_t>& kept) {
  Moments moments(table.rows());
  if (feature.derive() == v1::Feature::NONE) {
    RETURN_IF_ERROR(check_all_finite(table, at, feature.column()));
    for_each_entry<NumberColumn>(table, at, [&](const NumberColumn& column, size_t first) {
      for (size_t row = 0; row < column.values.size(); ++row) {
        if (kept[first + row] && column.is_valid(row)) moments.add(column.values[row]);
      }
    });
  } else {
    for_each_entry<TimeColumn>(table, at, [&](const TimeColumn& column, size_t first) {
      for (size_t row = 0; row < column.values.size(); ++row) {
        if (kept[first + row] && column.is_valid(row)) {
          moments.add(static_cast<double>(derived(feature.derive(), column.values[row])));
        }
      }
    });
  }
  return moments.scaling();
}

v1::Scaling fit_label(const Labels& labels) {
  Moments moments(labels.values.size());
  for (size_t row = 0; row < labels.values.size(); ++row) {
    if (labels.valid[row]) moments.add(labels.values[row]);
  }
  return moments.scaling();
}

}  // namespace

Result<v1::TransformState> fit_state(const v1::TabularModel& model, const Table& training,
                                     const v1::TransformState* previous) {
  RETURN_IF_ERROR(check_model(model));
  ASSIGN_OR_RETURN(const auto labels, read_labels(model.label(), training));
  RETURN_IF_ERROR(check_label_varies(model.label(), labels, training.entries().size()));
  v1::TransformState state;
  *state.mutable_model() = normalised(model);
  for (const auto& feature : state.model().features()) {
    ASSIGN_OR_RETURN(const size_t at, training.find(feature_request(feature)));
    if (is_categorical(feature)) {
      std::unordered_set<std::string> words;
      if (feature.derive() == v1::Feature::NONE) {
        collect_words(training, at, labels.valid, &words);
      } else {
        collect_derived(training, at, feature.derive(), labels.valid, &words);
      }
      const auto* known = previous ? &previous->vocabularies(state.vocabularies_size()) : nullptr;
      *state.add_vocabularies() = extended(known, std::move(words));
    } else if (previous != nullptr) {
      *state.add_scalings() = previous->scalings(state.scalings_size());
    } else {
      ASSIGN_OR_RETURN(*state.add_scalings(), fit_scaling(feature, training, at, labels.valid));
    }
  }
  if (model.label().task() == v1::Label::REGRESSION) {
    *state.mutable_label() = previous ? previous->label() : fit_label(labels);
  }
  return state;
}

}  // namespace freshet::worker
