#include "worker/data/fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>

#include "worker/data/features.h"
#include "worker/data/label.h"

namespace freshet::worker {
namespace {

using Words = std::unordered_set<std::string>;
using Numbers = ScratchVector<double>;

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

// What the rows of a part say, in their order: those that have a label and count.
struct Part {
  PartSize size;
  std::vector<Numbers> numbers;  // [numeric feature] width_of() a row; kMissing where it has none
  Numbers labels;                // REGRESSION only
  Numbers weights;               // [row] with a weight_column only
};

// The rows of a batch that are learned from.
struct Kept {
  Labels labels;
  std::vector<double> weights;
  std::vector<uint8_t> rows;  // [row] 1: it has a label, and counts
};

// Means and deviations over the parts in their order: one order whatever the threads. `numbers_of` gives a part's
// numbers, `width` of them a row.
template <class NumbersOf>
v1::Scaling fitted_scaling(const std::vector<Part>& parts, size_t width, NumbersOf numbers_of) {
  auto for_each = [&](auto visit) {
    for (const auto& part : parts) {
      const Numbers& numbers = numbers_of(part);
      for (size_t i = 0; i < numbers.size(); ++i) {
        if (!std::isnan(numbers[i])) visit(numbers[i], part.weights.empty() ? 1.0 : part.weights[i / width]);
      }
    }
  };
  v1::Scaling scaling;
  scaling.set_scale(1);
  double count = 0, sum = 0;
  for_each([&](double value, double weight) {
    count += weight;
    sum += weight * value;
  });
  if (count == 0) return scaling;
  const double mean = sum / count;
  double squares = 0;
  for_each([&](double value, double weight) { squares += weight * ((value - mean) * (value - mean)); });
  const double deviation = std::sqrt(squares / count);
  scaling.set_mean(mean);
  // A column of one value tells nothing; it becomes 0 everywhere.
  if (std::isfinite(deviation) && deviation > 0) scaling.set_scale(deviation);
  return scaling;
}

// What `previous` knows stays where it is; what is new follows, sorted by bytes.
v1::Vocabulary extended(const v1::Vocabulary* previous, Words words) {
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

// The column's values that a kept row uses.
std::vector<uint8_t> used_values(const TextColumn& column, const std::vector<uint8_t>& kept) {
  std::vector<uint8_t> used(column.values.size());
  auto use = [&](int32_t code) {
    if (code >= 0) used[static_cast<size_t>(code)] = 1;
  };
  if (column.ends.empty()) {
    for (size_t row = 0; row < column.codes.size(); ++row) {
      if (kept[row]) use(column.codes[row]);
    }
    return used;
  }
  size_t at = 0;
  for (size_t row = 0; row < column.ends.size(); ++row) {
    for (; at < column.ends[row]; ++at) {
      if (kept[row]) use(column.codes[at]);
    }
  }
  return used;
}

// How many values the rows that have a label hold together.
size_t count_values(const v1::Feature& feature, const TextColumn& column, const std::vector<uint8_t>& has_label) {
  size_t count = 0;
  if (!column.ends.empty()) {
    for (size_t row = 0; row < column.ends.size(); ++row) {
      if (has_label[row]) count += column.ends[row] - (row == 0 ? 0 : column.ends[row - 1]);
    }
    return count;
  }
  std::vector<size_t> values_in;
  for (const auto& text : column.values) {
    size_t values = 0;
    for_each_value(feature, text, [&](std::string_view) { ++values; });
    values_in.push_back(values);
  }
  for (size_t row = 0; row < column.codes.size(); ++row) {
    if (has_label[row] && column.codes[row] >= 0) count += values_in[static_cast<size_t>(column.codes[row])];
  }
  return count;
}

}  // namespace

struct Fitter::Impl {
  v1::TabularModel model;  // normalised
  const v1::TransformState* previous = nullptr;
  size_t entries = 0;
  std::vector<Part> parts;

  // What has no order.
  std::mutex mutex;
  std::vector<Words> words;  // [categorical feature]
  Words classes;
  std::optional<double> label;  // of a kept row
  bool label_varies = false;
  uint64_t rows = 0, rows_kept = 0;

  bool is_multiclass() const { return model.label().task() == v1::Label::MULTICLASS; }

  Result<Kept> keep(const Table& batch) const {
    Kept kept;
    ASSIGN_OR_RETURN(kept.labels, read_labels(model.label(), batch, nullptr));
    ASSIGN_OR_RETURN(kept.weights, read_weights(model, batch));
    kept.rows = kept.labels.valid;
    for (size_t row = 0; row < kept.weights.size(); ++row) {
      if (kept.weights[row] == 0) kept.rows[row] = 0;
    }
    return kept;
  }

  Status add_label(const Table& batch, const Kept& kept, Part* part) {
    Words found;
    if (is_multiclass()) RETURN_IF_ERROR(add_words(batch, label_request(model.label()), {}, kept.rows, &found));
    uint64_t count = 0;
    std::optional<double> first;
    bool varies = false;
    for (size_t row = 0; row < kept.rows.size(); ++row) {
      if (!kept.rows[row]) continue;
      ++count;
      if (!first) first = kept.labels.values[row];
      varies = varies || kept.labels.values[row] != *first;
      if (model.label().task() == v1::Label::REGRESSION) part->labels.push_back(kept.labels.values[row]);
      if (!kept.weights.empty()) part->weights.push_back(kept.weights[row]);
    }
    std::lock_guard lock(mutex);
    rows += kept.rows.size();
    rows_kept += count;
    label_varies = label_varies || varies || (label && first && *label != *first);
    if (!label) label = first;
    classes.merge(found);
    return Status::ok();
  }

  // The values of a text column in kept rows.
  static Status add_words(const Table& batch, const ColumnRequest& request, const v1::Feature& feature,
                          const std::vector<uint8_t>& kept, Words* found) {
    ASSIGN_OR_RETURN(const size_t at, batch.find(request));
    for_each_entry<TextColumn>(batch, at, [&](const TextColumn& column, size_t first) {
      const auto used = used_values(column, {kept.begin() + static_cast<ptrdiff_t>(first), kept.end()});
      for (size_t i = 0; i < used.size(); ++i) {
        if (used[i]) for_each_value(feature, column.values[i], [&](std::string_view word) { found->emplace(word); });
      }
    });
    return Status::ok();
  }

  static Status add_derived(const Table& batch, const v1::Feature& feature, const std::vector<uint8_t>& kept,
                            Words* found) {
    ASSIGN_OR_RETURN(const size_t at, batch.find(feature_request(feature)));
    std::array<bool, kDerivedValues> used{};
    for_each_entry<TimeColumn>(batch, at, [&](const TimeColumn& column, size_t first) {
      for (size_t row = 0; row < column.values.size(); ++row) {
        if (kept[first + row] && column.is_valid(row)) used[derived(feature.derive(), column.values[row])] = true;
      }
    });
    for (size_t value = 0; value < used.size(); ++value) {
      if (used[value]) found->insert(std::to_string(value));
    }
    return Status::ok();
  }

  Status add_categorical(const Table& batch, const v1::Feature& feature, size_t index, const Kept& kept, Part* part) {
    if (feature.multi_valued()) {
      ASSIGN_OR_RETURN(const size_t at, batch.find(feature_request(feature)));
      for_each_entry<TextColumn>(batch, at, [&](const TextColumn& column, size_t first) {
        const auto& valid = kept.labels.valid;
        part->size.codes[index] +=
            count_values(feature, column, {valid.begin() + static_cast<ptrdiff_t>(first), valid.end()});
      });
    }
    if (feature.hash_buckets() > 0) return Status::ok();
    Words found;
    if (is_of_time(feature)) {
      RETURN_IF_ERROR(add_derived(batch, feature, kept.rows, &found));
    } else {
      RETURN_IF_ERROR(add_words(batch, feature_request(feature), feature, kept.rows, &found));
    }
    std::lock_guard lock(mutex);
    words[index].merge(found);
    return Status::ok();
  }

  Status add_numeric(const Table& batch, const v1::Feature& feature, const Kept& kept, Numbers* numbers) const {
    ASSIGN_OR_RETURN(const size_t at, batch.find(feature_request(feature)));
    if (!is_of_time(feature)) RETURN_IF_ERROR(check_all_finite(batch, at, feature.column()));
    if (previous != nullptr) return Status::ok();
    auto append = [&](const auto& column, size_t first, size_t width) {
      for (size_t row = 0; row * width < column.values.size(); ++row) {
        if (!kept.rows[first + row]) continue;
        for (size_t i = row * width; i < (row + 1) * width; ++i) {
          numbers->push_back(column.is_valid(row) ? static_cast<double>(derived(feature.derive(), column.values[i]))
                                                  : kMissing);
        }
      }
    };
    if (is_of_time(feature)) {
      for_each_entry<TimeColumn>(batch, at,
                                 [&](const TimeColumn& column, size_t first) { append(column, first, size_t{1}); });
    } else {
      for_each_entry<NumberColumn>(
          batch, at, [&](const NumberColumn& column, size_t first) { append(column, first, width_of(feature)); });
    }
    return Status::ok();
  }

  Status check_label() const {
    const std::string name = "label '" + model.label().column() + "' is ";
    if (rows_kept == 0) {
      return invalid_argument("there are no rows to train on: " + name + "missing" +
                              (model.weight_column().empty() ? "" : " or the weight 0") + " in all " + grouped(rows) +
                              " rows of " + grouped(entries) + (entries == 1 ? " entry" : " entries"));
    }
    if (is_multiclass() ? classes.size() > 1 : label_varies) return Status::ok();
    return invalid_argument(name + "constant (all " + (is_multiclass() ? *classes.begin() : short_number(*label)) +
                            ") over " + grouped(rows_kept) + " training " + (rows_kept == 1 ? "row" : "rows"));
  }
};

Result<Fitter> Fitter::create(const v1::TabularModel& model, const v1::TransformState* previous, size_t parts,
                              size_t entries, const std::shared_ptr<Scratch>& scratch) {
  RETURN_IF_ERROR(check_model(model));
  auto impl = std::make_unique<Impl>();
  impl->model = normalised(model);
  impl->previous = previous;
  impl->entries = entries;
  size_t categorical = 0;
  for (const auto& feature : model.features()) categorical += is_categorical(feature) ? 1 : 0;
  impl->words.resize(categorical);
  impl->parts.resize(parts);
  for (auto& part : impl->parts) {
    part.size.codes.resize(categorical);
    const Numbers none{ScratchAllocator<double>(scratch)};
    part.numbers.assign(static_cast<size_t>(model.features_size()) - categorical, none);
    part.labels = part.weights = none;
  }
  return Fitter(std::move(impl));
}

Status Fitter::add(size_t part_number, const Table& batch) {
  Part& part = impl_->parts[part_number];
  ASSIGN_OR_RETURN(const Kept kept, impl_->keep(batch));
  RETURN_IF_ERROR(impl_->add_label(batch, kept, &part));
  part.size.rows += batch.rows() - kept.labels.missing;
  size_t categorical = 0, numeric = 0;
  for (const auto& feature : impl_->model.features()) {
    if (is_categorical(feature)) {
      RETURN_IF_ERROR(impl_->add_categorical(batch, feature, categorical++, kept, &part));
    } else {
      RETURN_IF_ERROR(impl_->add_numeric(batch, feature, kept, &part.numbers[numeric++]));
    }
  }
  return Status::ok();
}

Result<v1::TransformState> Fitter::state() const {
  RETURN_IF_ERROR(impl_->check_label());
  const auto* previous = impl_->previous;
  v1::TransformState state;
  *state.mutable_model() = impl_->model;
  for (const auto& feature : impl_->model.features()) {
    if (is_categorical(feature)) {
      const int index = state.vocabularies_size();
      *state.add_vocabularies() =
          extended(previous ? &previous->vocabularies(index) : nullptr, impl_->words[static_cast<size_t>(index)]);
    } else {
      const int index = state.scalings_size();
      *state.add_scalings() = previous
                                  ? previous->scalings(index)
                                  : fitted_scaling(impl_->parts, width_of(feature), [&](const Part& part) -> auto& {
                                      return part.numbers[static_cast<size_t>(index)];
                                    });
    }
  }
  if (impl_->model.label().task() == v1::Label::REGRESSION) {
    *state.mutable_label() =
        previous ? previous->label()
                 : fitted_scaling(impl_->parts, 1, [](const Part& part) -> auto& { return part.labels; });
  }
  if (impl_->is_multiclass()) {
    *state.mutable_classes() = extended(previous ? &previous->classes() : nullptr, impl_->classes);
  }
  return state;
}

void Fitter::forget_numbers() {
  for (auto& part : impl_->parts) {
    part.numbers.clear();
    part.labels = {};
    part.weights = {};
  }
}

const PartSize& Fitter::size(size_t part) const { return impl_->parts[part].size; }

Fitter::Fitter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Fitter::Fitter(Fitter&&) noexcept = default;
Fitter::~Fitter() = default;

}  // namespace freshet::worker
