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

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
using Codes = std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>>;

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
  if (state.has_classes() != (state.model().label().task() == v1::Label::MULTICLASS)) {
    return corrupt("its classes do not match its label's task");
  }
  return check_model(state.model());
}

float standardised(double raw, const v1::Scaling& scaling) {
  return static_cast<float>((raw - scaling.mean()) / scaling.scale());
}

// Keeps the rows whose flag is set, in their order.
template <class T>
void compact(const std::vector<uint8_t>& kept, ScratchVector<T>* values) {
  size_t to = 0;
  for (size_t from = 0; from < values->size(); ++from) {
    if (kept[from]) (*values)[to++] = (*values)[from];
  }
  values->resize(to);
}

void compact(const std::vector<uint8_t>& kept, ScratchVector<int32_t>* codes, ScratchVector<uint32_t>* ends) {
  size_t to = 0, row_to = 0, from = 0;
  for (size_t row = 0; row < ends->size(); ++row) {
    const size_t end = (*ends)[row];
    for (; from < end; ++from) {
      if (kept[row]) (*codes)[to++] = (*codes)[from];
    }
    if (kept[row]) (*ends)[row_to++] = static_cast<uint32_t>(to);
  }
  codes->resize(to);
  ends->resize(row_to);
}

// "its vocabulary": word i of it has the code first + i.
Result<Codes> indexed(const v1::Vocabulary& vocabulary, int32_t first, const std::string& what) {
  Codes codes;
  codes.reserve(static_cast<size_t>(vocabulary.words_size()));
  for (const auto& word : vocabulary.words()) {
    if (!codes.emplace(word, static_cast<int32_t>(codes.size()) + first).second) {
      return corrupt(what + " has the word '" + word + "' twice");
    }
  }
  return codes;
}

}  // namespace

struct Transform::Impl {
  v1::TransformState state;
  std::vector<Codes> codes;  // per vocabulary
  Classes classes;

  // After `state` is complete.
  Status index() {
    RETURN_IF_ERROR(check_state(state));
    codes.clear();
    for (const auto& vocabulary : state.vocabularies()) {
      ASSIGN_OR_RETURN(codes.emplace_back(), indexed(vocabulary, 1, "its vocabulary"));
    }
    ASSIGN_OR_RETURN(const auto numbered, indexed(state.classes(), 0, "its list of classes"));
    classes = {numbered.begin(), numbered.end()};
    return Status::ok();
  }

  static int32_t code_of(const v1::Feature& feature, const Codes& codes, std::string_view word) {
    if (feature.hash_buckets() > 0) return hashed_code(word, feature.hash_buckets());
    auto found = codes.find(word);
    return found == codes.end() ? 0 : found->second;
  }

  static ScratchVector<int32_t> encode_words(const Table& table, size_t at, const v1::Feature& feature,
                                             const Codes& codes) {
    ScratchVector<int32_t> encoded;
    encoded.reserve(table.rows());
    for_each_entry<TextColumn>(table, at, [&](const TextColumn& column, size_t) {
      std::vector<int32_t> of_word;  // [file's own code + 1]; the first is "missing"
      of_word.reserve(column.values.size() + 1);
      of_word.push_back(0);
      for (const auto& word : column.values) of_word.push_back(code_of(feature, codes, word));
      for (int32_t code : column.codes) encoded.push_back(of_word[static_cast<size_t>(code + 1)]);
    });
    return encoded;
  }

  static void encode_value_lists(const Table& table, size_t at, const v1::Feature& feature, const Codes& codes,
                                 ScratchVector<int32_t>* encoded, ScratchVector<uint32_t>* ends) {
    for_each_entry<TextColumn>(table, at, [&](const TextColumn& column, size_t) {
      std::vector<std::vector<int32_t>> of_text;
      for (const auto& text : column.values) {
        auto& of_values = of_text.emplace_back();
        for_each_value(feature, text,
                       [&](std::string_view value) { of_values.push_back(code_of(feature, codes, value)); });
      }
      size_t next = 0;
      for (size_t row = 0; row < (column.ends.empty() ? column.codes.size() : column.ends.size()); ++row) {
        const size_t end = column.ends.empty() ? row + 1 : column.ends[row];
        for (; next < end; ++next) {
          if (column.codes[next] < 0) continue;
          const auto& of_values = of_text[static_cast<size_t>(column.codes[next])];
          encoded->insert(encoded->end(), of_values.begin(), of_values.end());
        }
        ends->push_back(static_cast<uint32_t>(encoded->size()));
      }
    });
  }

  static ScratchVector<int32_t> encode_derived(const Table& table, size_t at, const v1::Feature& feature,
                                               const Codes& codes) {
    std::array<int32_t, kDerivedValues> of_value{};
    for (size_t value = 0; value < of_value.size(); ++value) {
      of_value[value] = code_of(feature, codes, std::to_string(value));
    }
    ScratchVector<int32_t> encoded;
    encoded.reserve(table.rows());
    for_each_entry<TimeColumn>(table, at, [&](const TimeColumn& column, size_t) {
      for (size_t row = 0; row < column.values.size(); ++row) {
        encoded.push_back(column.is_valid(row) ? of_value[derived(feature.derive(), column.values[row])] : 0);
      }
    });
    return encoded;
  }

  // One column of floats for each of the feature's inputs.
  static void encode_numbers(const Table& table, size_t at, const v1::Feature& feature, const v1::Scaling& scaling,
                             std::vector<ScratchVector<float>>* encoded) {
    const size_t width = width_of(feature), first = encoded->size();
    for (size_t i = 0; i < width; ++i) encoded->emplace_back().reserve(table.rows());
    auto append = [&](const auto& column) {
      for (size_t i = 0; i < width; ++i) {
        auto& to = (*encoded)[first + i];
        for (size_t row = 0; row * width < column.values.size(); ++row) {
          const auto raw = column.values[row * width + i];
          to.push_back(column.is_valid(row) ? standardised(static_cast<double>(derived(feature.derive(), raw)), scaling)
                                            : 0.0F);
        }
      }
    };
    if (is_of_time(feature)) {
      for_each_entry<TimeColumn>(table, at, [&](const TimeColumn& column, size_t) { append(column); });
    } else {
      for_each_entry<NumberColumn>(table, at, [&](const NumberColumn& column, size_t) { append(column); });
    }
  }
};

std::vector<ColumnRequest> feature_columns(const v1::TabularModel& model) {
  std::vector<ColumnRequest> requests;
  for (const auto& feature : model.features()) requests.push_back(feature_request(feature));
  return merged_requests(std::move(requests), {});
}

std::vector<ColumnRequest> required_columns(const v1::TabularModel& model) {
  auto requests = merged_requests(feature_columns(model), {label_request(model.label())});
  if (model.weight_column().empty()) return requests;
  return merged_requests(std::move(requests), {{model.weight_column(), ColumnUse::kNumber}});
}

ColumnSet training_columns(const v1::TabularModel& model) {
  return {required_columns(model), {model.column_names().begin(), model.column_names().end()}};
}

Result<Transform> Transform::fit(const v1::TabularModel& model, const Table& training, const Transform* previous) {
  if (previous != nullptr && !previous->same_features(model)) {
    return conflict("the model to start from has other features, another label or other hidden layers");
  }
  ASSIGN_OR_RETURN(Fitter fitter, Fitter::create(model, previous ? &previous->state() : nullptr, 1,
                                                 training.entries().size(), nullptr));
  RETURN_IF_ERROR(fitter.add(0, training));
  return fit(fitter);
}

Result<Transform> Transform::fit(const Fitter& fitter) {
  auto impl = std::make_unique<Impl>();
  ASSIGN_OR_RETURN(impl->state, fitter.state());
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
  int scalings = 0;
  for (const auto& feature : model().features()) {
    ASSIGN_OR_RETURN(const size_t at, table.find(feature_request(feature)));
    if (!is_categorical(feature)) {
      if (!is_of_time(feature)) RETURN_IF_ERROR(check_all_finite(table, at, feature.column()));
      Impl::encode_numbers(table, at, feature, impl_->state.scalings(scalings++), &encoded.numeric);
      continue;
    }
    const auto& codes = impl_->codes[encoded.categorical.size()];
    auto& ends = encoded.ends.emplace_back();
    if (feature.multi_valued()) {
      Impl::encode_value_lists(table, at, feature, codes, &encoded.categorical.emplace_back(), &ends);
    } else if (is_of_time(feature)) {
      encoded.categorical.push_back(Impl::encode_derived(table, at, feature, codes));
    } else {
      encoded.categorical.push_back(Impl::encode_words(table, at, feature, codes));
    }
  }
  encoded.entry.reserve(table.rows());
  for (const auto& entry : table.entries()) {
    encoded.entry.insert(encoded.entry.end(), entry.rows, static_cast<uint32_t>(encoded.entry_uris.size()));
    encoded.entry_uris.push_back(entry.uri);
  }
  return encoded;
}

Result<Labels> Transform::labels(const Table& table) const {
  return read_labels(model().label(), table, &impl_->classes);
}

Result<EncodedRows> Transform::encode(const Table& table) const {
  ASSIGN_OR_RETURN(auto encoded, encode_features(table));
  ASSIGN_OR_RETURN(const auto labels, this->labels(table));
  ASSIGN_OR_RETURN(const auto weights, read_weights(model(), table));
  const bool regression = model().label().task() == v1::Label::REGRESSION;
  encoded.label.reserve(table.rows());
  for (double value : labels.values) {
    encoded.label.push_back(regression ? standardised(value, impl_->state.label()) : static_cast<float>(value));
  }
  encoded.weight.assign(weights.begin(), weights.end());
  if (labels.missing == 0) return encoded;
  encoded.dropped = labels.missing;
  encoded.rows -= labels.missing;
  for (size_t feature = 0; feature < encoded.categorical.size(); ++feature) {
    auto& ends = encoded.ends[feature];
    if (ends.empty()) {
      compact(labels.valid, &encoded.categorical[feature]);
    } else {
      compact(labels.valid, &encoded.categorical[feature], &ends);
    }
  }
  for (auto& column : encoded.numeric) compact(labels.valid, &column);
  compact(labels.valid, &encoded.label);
  compact(labels.valid, &encoded.weight);
  compact(labels.valid, &encoded.entry);
  return encoded;
}

const v1::TransformState& Transform::state() const { return impl_->state; }

const v1::TabularModel& Transform::model() const { return impl_->state.model(); }

std::vector<uint32_t> Transform::cardinalities() const {
  std::vector<uint32_t> counts;
  for (const auto& feature : model().features()) {
    if (!is_categorical(feature)) continue;
    const auto words = impl_->state.vocabularies(static_cast<int>(counts.size())).words_size();
    counts.push_back((feature.hash_buckets() > 0 ? feature.hash_buckets() : static_cast<uint32_t>(words)) + 1);
  }
  return counts;
}

size_t Transform::numeric_features() const {
  size_t count = 0;
  for (const auto& feature : model().features()) count += is_categorical(feature) ? 0 : width_of(feature);
  return count;
}

size_t Transform::classes() const { return impl_->classes.size(); }

bool Transform::same_features(const v1::TabularModel& other) const {
  auto meaning = [](v1::TabularModel of) {
    of.clear_weight_column();
    of.clear_column_names();
    of.clear_compute();
    return normalised(std::move(of));
  };
  return google::protobuf::util::MessageDifferencer::Equals(meaning(model()), meaning(other));
}

double Transform::label_mean() const { return impl_->state.label().mean(); }

double Transform::label_scale() const { return impl_->state.has_label() ? impl_->state.label().scale() : 1; }

Transform::Transform(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Transform::Transform(Transform&&) noexcept = default;
Transform& Transform::operator=(Transform&&) noexcept = default;
Transform::~Transform() = default;

}  // namespace freshet::worker
