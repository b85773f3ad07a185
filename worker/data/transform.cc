#include "worker/data/transform.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "proto/json.h"
#include "proto/transform.pb.h"
#include "worker/data/label.h"
#include "worker/data/table.h"

namespace freshet::worker {
namespace {

constexpr uint32_t kEmbeddingDimDefault = 16;
constexpr int64_t kMicrosPerHour = 3'600'000'000;
constexpr int64_t kMicrosPerDay = 24 * kMicrosPerHour;
constexpr int64_t kWeekdayOfEpoch = 3;  // 1970-01-01 was a Thursday, and Monday is 0
constexpr size_t kDerivedValues = 24;   // no derived feature has more values

using Codes = std::unordered_map<std::string, int32_t>;

bool is_categorical(const v1::Feature& feature) { return feature.kind() == v1::Feature::CATEGORICAL; }

ColumnRequest feature_request(const v1::Feature& feature) {
  if (feature.derive() != v1::Feature::NONE) return {feature.column(), ColumnUse::kTime};
  return {feature.column(), is_categorical(feature) ? ColumnUse::kText : ColumnUse::kNumber};
}

int64_t positive_modulo(int64_t value, int64_t divisor) {
  const int64_t rest = value % divisor;
  return rest < 0 ? rest + divisor : rest;
}

size_t derived(v1::Feature::Derive derive, int64_t time_us) {
  const int64_t in_day = positive_modulo(time_us, kMicrosPerDay);
  if (derive == v1::Feature::HOUR_OF_DAY) return static_cast<size_t>(in_day / kMicrosPerHour);
  return static_cast<size_t>(positive_modulo((time_us - in_day) / kMicrosPerDay + kWeekdayOfEpoch, 7));
}

// The model with every default in its place, so that two ways to write the same recipe compare equal.
v1::TabularModel normalised(v1::TabularModel model) {
  for (auto& feature : *model.mutable_features()) {
    if (!is_categorical(feature)) {
      feature.clear_embedding_dim();
    } else if (feature.embedding_dim() == 0) {
      feature.set_embedding_dim(kEmbeddingDimDefault);
    }
  }
  return model;
}

Status check_model(const v1::TabularModel& model) {
  if (model.features().empty()) return invalid_argument("the model has no features");
  if (model.label().task() == v1::Label::TASK_UNSPECIFIED) return invalid_argument("the label has no task");
  for (const auto& feature : model.features()) {
    if (feature.kind() == v1::Feature::KIND_UNSPECIFIED) {
      return invalid_argument("feature '" + feature.column() + "' has no kind");
    }
    if (feature.column() == model.label().column()) {
      return invalid_argument("label '" + feature.column() + "' is also a feature, which would give the answer away");
    }
  }
  return Status::ok();
}

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

// Calls visit(entry's column, first row of the entry in the table) for every entry.
template <class ColumnType, class Visit>
void for_each_entry(const Table& table, size_t at, Visit visit) {
  size_t first = 0;
  for (const auto& entry : table.entries()) {
    visit(std::get<ColumnType>(entry.columns[at]), first);
    first += entry.rows;
  }
}

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

Status check_state(const v1::TransformState& state) {
  int categorical = 0;
  for (const auto& feature : state.model().features()) categorical += is_categorical(feature) ? 1 : 0;
  if (state.vocabularies_size() != categorical ||
      state.scalings_size() != state.model().features_size() - categorical) {
    return corrupt("its vocabularies and scalings do not match its features");
  }
  auto is_usable = [](const v1::Scaling& scaling) {
    return std::isfinite(scaling.mean()) && std::isfinite(scaling.scale()) && scaling.scale() > 0;
  };
  if (!std::all_of(state.scalings().begin(), state.scalings().end(), is_usable) ||
      (state.has_label() && !is_usable(state.label()))) {
    return corrupt("it has a scaling that is not a finite mean and a positive scale");
  }
  if (state.has_label() != (state.model().label().task() == v1::Label::REGRESSION)) {
    return corrupt("its label's scaling does not match its label's task");
  }
  return check_model(state.model());
}

float standardised(double raw, const v1::Scaling& scaling) {
  return static_cast<float>((raw - scaling.mean()) / scaling.scale());
}

// Keeps the rows whose flag is set, in their order.
template <class T>
void compact(const std::vector<uint8_t>& kept, std::vector<T>* values) {
  size_t to = 0;
  for (size_t from = 0; from < values->size(); ++from) {
    if (kept[from]) (*values)[to++] = (*values)[from];
  }
  values->resize(to);
}

}  // namespace

struct Transform::Impl {
  v1::TransformState state;
  std::vector<Codes> codes;  // per vocabulary

  // After `state` is complete.
  Status index() {
    RETURN_IF_ERROR(check_state(state));
    codes.clear();
    for (const auto& vocabulary : state.vocabularies()) {
      auto& of_word = codes.emplace_back();
      of_word.reserve(static_cast<size_t>(vocabulary.words_size()));
      for (const auto& word : vocabulary.words()) {
        const auto code = static_cast<int32_t>(of_word.size()) + 1;
        if (!of_word.emplace(word, code).second) return corrupt("its vocabulary has the word '" + word + "' twice");
      }
    }
    return Status::ok();
  }

  static int32_t code_of(const Codes& codes, const std::string& word) {
    auto found = codes.find(word);
    return found == codes.end() ? 0 : found->second;
  }

  static std::vector<int32_t> encode_words(const Table& table, size_t at, const Codes& codes) {
    std::vector<int32_t> encoded;
    encoded.reserve(table.rows());
    for_each_entry<TextColumn>(table, at, [&](const TextColumn& column, size_t) {
      std::vector<int32_t> of_word;  // [file's own code + 1]; the first is "missing"
      of_word.reserve(column.values.size() + 1);
      of_word.push_back(0);
      for (const auto& word : column.values) of_word.push_back(code_of(codes, word));
      for (int32_t code : column.codes) encoded.push_back(of_word[static_cast<size_t>(code + 1)]);
    });
    return encoded;
  }

  static std::vector<int32_t> encode_derived(const Table& table, size_t at, v1::Feature::Derive derive,
                                             const Codes& codes) {
    std::array<int32_t, kDerivedValues> of_value{};
    for (size_t value = 0; value < of_value.size(); ++value) of_value[value] = code_of(codes, std::to_string(value));
    std::vector<int32_t> encoded;
    encoded.reserve(table.rows());
    for_each_entry<TimeColumn>(table, at, [&](const TimeColumn& column, size_t) {
      for (size_t row = 0; row < column.values.size(); ++row) {
        encoded.push_back(column.is_valid(row) ? of_value[derived(derive, column.values[row])] : 0);
      }
    });
    return encoded;
  }

  static std::vector<float> encode_numbers(const Table& table, size_t at, const v1::Feature& feature,
                                           const v1::Scaling& scaling) {
    std::vector<float> encoded;
    encoded.reserve(table.rows());
    auto append = [&](const auto& column, auto raw) {
      for (size_t row = 0; row < column.values.size(); ++row) {
        encoded.push_back(column.is_valid(row) ? standardised(raw(column.values[row]), scaling) : 0.0F);
      }
    };
    if (feature.derive() == v1::Feature::NONE) {
      for_each_entry<NumberColumn>(
          table, at, [&](const NumberColumn& column, size_t) { append(column, [](double value) { return value; }); });
    } else {
      for_each_entry<TimeColumn>(table, at, [&](const TimeColumn& column, size_t) {
        append(column, [&](int64_t value) { return static_cast<double>(derived(feature.derive(), value)); });
      });
    }
    return encoded;
  }
};

namespace {

Status check_all_finite(const Table& table, size_t at, const std::string& name) {
  for (const auto& entry : table.entries()) {
    RETURN_IF_ERROR(check_finite(std::get<NumberColumn>(entry.columns[at]), name, entry.uri));
  }
  return Status::ok();
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

std::vector<ColumnRequest> feature_columns(const v1::TabularModel& model) {
  std::vector<ColumnRequest> requests;
  for (const auto& feature : model.features()) requests.push_back(feature_request(feature));
  return merged_requests(std::move(requests), {});
}

std::vector<ColumnRequest> required_columns(const v1::TabularModel& model) {
  return merged_requests(feature_columns(model), {label_request(model.label())});
}

Result<Transform> Transform::fit(const v1::TabularModel& model, const Table& training, const Transform* previous) {
  RETURN_IF_ERROR(check_model(model));
  if (previous != nullptr && !previous->same_features(model)) {
    return conflict("the model to start from has other features, another label or other hidden layers");
  }
  ASSIGN_OR_RETURN(const auto labels, read_labels(model.label(), training));
  RETURN_IF_ERROR(check_label_varies(model.label(), labels, training.entries().size()));
  auto impl = std::make_unique<Impl>();
  auto& state = impl->state;
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
      const auto* known = previous ? &previous->impl_->state.vocabularies(state.vocabularies_size()) : nullptr;
      *state.add_vocabularies() = extended(known, std::move(words));
    } else if (previous != nullptr) {
      *state.add_scalings() = previous->impl_->state.scalings(state.scalings_size());
    } else {
      ASSIGN_OR_RETURN(*state.add_scalings(), fit_scaling(feature, training, at, labels.valid));
    }
  }
  if (model.label().task() == v1::Label::REGRESSION) {
    *state.mutable_label() = previous ? previous->impl_->state.label() : fit_label(labels);
  }
  RETURN_IF_ERROR(impl->index());
  return Transform(std::move(impl));
}

std::string Transform::to_json() const { return to_canonical_json(impl_->state); }

Result<Transform> Transform::from_json(const std::string& json) {
  auto impl = std::make_unique<Impl>();
  RETURN_IF_ERROR(::freshet::from_json(json, &impl->state).with_context("transform.json"));
  RETURN_IF_ERROR(impl->index().with_context("transform.json"));
  return Transform(std::move(impl));
}

Result<EncodedRows> Transform::encode_features(const Table& table) const {
  EncodedRows encoded;
  encoded.rows = table.rows();
  for (const auto& feature : model().features()) {
    ASSIGN_OR_RETURN(const size_t at, table.find(feature_request(feature)));
    if (is_categorical(feature)) {
      const auto& codes = impl_->codes[encoded.categorical.size()];
      encoded.categorical.push_back(feature.derive() == v1::Feature::NONE
                                        ? Impl::encode_words(table, at, codes)
                                        : Impl::encode_derived(table, at, feature.derive(), codes));
    } else {
      if (feature.derive() == v1::Feature::NONE) RETURN_IF_ERROR(check_all_finite(table, at, feature.column()));
      const auto& scaling = impl_->state.scalings(static_cast<int>(encoded.numeric.size()));
      encoded.numeric.push_back(Impl::encode_numbers(table, at, feature, scaling));
    }
  }
  encoded.entry.reserve(table.rows());
  for (const auto& entry : table.entries()) {
    encoded.entry.insert(encoded.entry.end(), entry.rows, static_cast<uint32_t>(encoded.entry_uris.size()));
    encoded.entry_uris.push_back(entry.uri);
  }
  return encoded;
}

Result<EncodedRows> Transform::encode(const Table& table) const {
  ASSIGN_OR_RETURN(auto encoded, encode_features(table));
  ASSIGN_OR_RETURN(const auto labels, read_labels(model().label(), table));
  const bool regression = model().label().task() == v1::Label::REGRESSION;
  encoded.label.reserve(table.rows());
  for (double value : labels.values) {
    encoded.label.push_back(regression ? standardised(value, impl_->state.label()) : static_cast<float>(value));
  }
  if (labels.missing == 0) return encoded;
  encoded.dropped = labels.missing;
  encoded.rows -= labels.missing;
  for (auto& column : encoded.categorical) compact(labels.valid, &column);
  for (auto& column : encoded.numeric) compact(labels.valid, &column);
  compact(labels.valid, &encoded.label);
  compact(labels.valid, &encoded.entry);
  return encoded;
}

const v1::TabularModel& Transform::model() const { return impl_->state.model(); }

std::vector<uint32_t> Transform::cardinalities() const {
  std::vector<uint32_t> counts;
  for (const auto& vocabulary : impl_->state.vocabularies()) {
    counts.push_back(static_cast<uint32_t>(vocabulary.words_size()) + 1);
  }
  return counts;
}

std::vector<uint32_t> Transform::embedding_dims() const {
  std::vector<uint32_t> dims;
  for (const auto& feature : model().features()) {
    if (is_categorical(feature)) dims.push_back(feature.embedding_dim());
  }
  return dims;
}

size_t Transform::numeric_features() const { return static_cast<size_t>(impl_->state.scalings_size()); }

bool Transform::same_features(const v1::TabularModel& other) const {
  return google::protobuf::util::MessageDifferencer::Equals(model(), normalised(other));
}

double Transform::label_mean() const { return impl_->state.label().mean(); }

double Transform::label_scale() const { return impl_->state.has_label() ? impl_->state.label().scale() : 1; }

Transform::Transform(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Transform::Transform(Transform&&) noexcept = default;
Transform& Transform::operator=(Transform&&) noexcept = default;
Transform::~Transform() = default;

}  // namespace freshet::worker
