#include "worker/data/transform.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>

#include "proto/json.h"
#include "proto/transform.pb.h"
#include "worker/data/features.h"
#include "worker/data/fit.h"
#include "worker/data/label.h"
#include "worker/data/table.h"

namespace freshet::worker {
namespace {

using Codes = std::unordered_map<std::string, int32_t>;

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

std::vector<ColumnRequest> feature_columns(const v1::TabularModel& model) {
  std::vector<ColumnRequest> requests;
  for (const auto& feature : model.features()) requests.push_back(feature_request(feature));
  return merged_requests(std::move(requests), {});
}

std::vector<ColumnRequest> required_columns(const v1::TabularModel& model) {
  return merged_requests(feature_columns(model), {label_request(model.label())});
}

Result<Transform> Transform::fit(const v1::TabularModel& model, const Table& training, const Transform* previous) {
  if (previous != nullptr && !previous->same_features(model)) {
    return conflict("the model to start from has other features, another label or other hidden layers");
  }
  auto impl = std::make_unique<Impl>();
  ASSIGN_OR_RETURN(impl->state, fit_state(model, training, previous ? &previous->impl_->state : nullptr));
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
