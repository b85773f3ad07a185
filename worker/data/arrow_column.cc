#include "worker/data/arrow_column.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <iterator>
#include <string_view>
#include <unordered_map>

#include <arrow/array.h>
#include <arrow/util/decimal.h>
#include <arrow/util/utf8.h>

namespace freshet::worker {
namespace {

constexpr int64_t kMicrosPerDay = 86'400'000'000;
constexpr int32_t kMissing = -1;
constexpr int32_t kNotSeen = -2;

Status wrong_type(const arrow::DataType& type, std::string_view needed) {
  return invalid_argument("has the type " + column_type_name(type) + ", but " + std::string(needed) + " needed");
}

// Gives each distinct text a code, in order of first use.
class Interner {
 public:
  explicit Interner(TextColumn* column) : column_(column) {}

  int32_t code(std::string_view text) {
    auto found = codes_.find(text);
    if (found != codes_.end()) return found->second;
    auto code = static_cast<int32_t>(column_->values.size());
    column_->values.emplace_back(text);
    codes_.emplace(std::string(text), code);
    return code;
  }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  TextColumn* column_;
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> codes_;
};

Status append_text(const arrow::Array& array, Interner* interner, std::vector<int32_t>* codes);

template <class ArrayType>
void append_strings(const arrow::Array& array, Interner* interner, std::vector<int32_t>* codes) {
  const auto& strings = static_cast<const ArrayType&>(array);
  for (int64_t i = 0; i < strings.length(); ++i) {
    codes->push_back(strings.IsNull(i) ? kMissing : interner->code(strings.GetView(i)));
  }
}

template <class ArrayType>
void append_integer_texts(const arrow::Array& array, Interner* interner, std::vector<int32_t>* codes) {
  const auto& integers = static_cast<const ArrayType&>(array);
  std::unordered_map<typename ArrayType::value_type, int32_t> known;
  for (int64_t i = 0; i < integers.length(); ++i) {
    if (integers.IsNull(i)) {
      codes->push_back(kMissing);
      continue;
    }
    auto [entry, is_new] = known.try_emplace(integers.Value(i), 0);
    if (is_new) entry->second = interner->code(std::to_string(integers.Value(i)));
    codes->push_back(entry->second);
  }
}

Status append_dictionary(const arrow::Array& array, Interner* interner, std::vector<int32_t>* codes) {
  const auto& encoded = static_cast<const arrow::DictionaryArray&>(array);
  // Through a column of its own, so that only words that a row uses reach the result.
  TextColumn words;
  Interner word_interner(&words);
  RETURN_IF_ERROR(append_text(*encoded.dictionary(), &word_interner, &words.codes));
  std::vector<int32_t> code_of_word(words.values.size(), kNotSeen);
  const bool has_missing = encoded.null_count() > 0;
  for (int64_t i = 0; i < encoded.length(); ++i) {
    if (has_missing && encoded.IsNull(i)) {
      codes->push_back(kMissing);
      continue;
    }
    int64_t index = encoded.GetValueIndex(i);
    if (index < 0 || index >= static_cast<int64_t>(words.codes.size())) {
      return corrupt("has a dictionary index out of range");
    }
    int32_t word = words.codes[static_cast<size_t>(index)];
    if (word == kMissing) {
      codes->push_back(kMissing);
      continue;
    }
    int32_t& code = code_of_word[static_cast<size_t>(word)];
    if (code == kNotSeen) code = interner->code(words.values[static_cast<size_t>(word)]);
    codes->push_back(code);
  }
  return Status::ok();
}

Status append_text(const arrow::Array& array, Interner* interner, std::vector<int32_t>* codes) {
  codes->reserve(codes->size() + static_cast<size_t>(array.length()));
  switch (array.type_id()) {
    case arrow::Type::STRING:
      append_strings<arrow::StringArray>(array, interner, codes);
      break;
    case arrow::Type::LARGE_STRING:
      append_strings<arrow::LargeStringArray>(array, interner, codes);
      break;
    case arrow::Type::STRING_VIEW:
      append_strings<arrow::StringViewArray>(array, interner, codes);
      break;
    case arrow::Type::BINARY:
      append_strings<arrow::BinaryArray>(array, interner, codes);
      break;
    case arrow::Type::LARGE_BINARY:
      append_strings<arrow::LargeBinaryArray>(array, interner, codes);
      break;
    case arrow::Type::INT8:
      append_integer_texts<arrow::Int8Array>(array, interner, codes);
      break;
    case arrow::Type::INT16:
      append_integer_texts<arrow::Int16Array>(array, interner, codes);
      break;
    case arrow::Type::INT32:
      append_integer_texts<arrow::Int32Array>(array, interner, codes);
      break;
    case arrow::Type::INT64:
      append_integer_texts<arrow::Int64Array>(array, interner, codes);
      break;
    case arrow::Type::UINT8:
      append_integer_texts<arrow::UInt8Array>(array, interner, codes);
      break;
    case arrow::Type::UINT16:
      append_integer_texts<arrow::UInt16Array>(array, interner, codes);
      break;
    case arrow::Type::UINT32:
      append_integer_texts<arrow::UInt32Array>(array, interner, codes);
      break;
    case arrow::Type::UINT64:
      append_integer_texts<arrow::UInt64Array>(array, interner, codes);
      break;
    case arrow::Type::BOOL: {
      const auto& booleans = static_cast<const arrow::BooleanArray&>(array);
      for (int64_t i = 0; i < booleans.length(); ++i) {
        codes->push_back(booleans.IsNull(i) ? kMissing : interner->code(booleans.Value(i) ? "true" : "false"));
      }
      break;
    }
    case arrow::Type::NA:
      codes->insert(codes->end(), static_cast<size_t>(array.length()), kMissing);
      break;
    case arrow::Type::DICTIONARY:
      return append_dictionary(array, interner, codes);
    default:
      return wrong_type(*array.type(), "categories (text, integers or booleans) are");
  }
  return Status::ok();
}

// NumberColumn or TimeColumn while it is filled.
template <class ColumnType>
class Filler {
 public:
  explicit Filler(ColumnType* column, size_t rows) : column_(column) { column_->values.reserve(rows); }

  // value(i) is called for rows that are not missing; is_missing(i) only where the array may have missing ones.
  template <class IsMissing, class ValueOf>
  void append(const arrow::Array& array, bool may_miss, IsMissing is_missing, ValueOf value) {
    auto& values = column_->values;
    auto& valid = column_->valid;
    const size_t before = values.size();
    const auto length = static_cast<size_t>(array.length());
    values.resize(before + length);
    if (may_miss && valid.empty()) valid.assign(before, 1);
    if (may_miss || !valid.empty()) valid.resize(before + length, 1);
    for (size_t i = 0; i < length; ++i) {
      if (may_miss && is_missing(static_cast<int64_t>(i))) {
        valid[before + i] = 0;
      } else {
        values[before + i] = value(static_cast<int64_t>(i));
      }
    }
  }

  template <class ValueOf>
  void append(const arrow::Array& array, ValueOf value) {
    append(array, array.null_count() > 0, [&](int64_t i) { return array.IsNull(i); }, value);
  }

 private:
  ColumnType* column_;
};

template <class ArrayType>
void append_numbers(const arrow::Array& array, Filler<NumberColumn>* filler) {
  const auto* values = static_cast<const ArrayType&>(array).raw_values();
  filler->append(array, [values](int64_t i) { return static_cast<double>(values[i]); });
}

template <class ArrayType, class Decimal>
void append_decimals(const arrow::Array& array, Filler<NumberColumn>* filler) {
  const auto& decimals = static_cast<const ArrayType&>(array);
  const int32_t scale = static_cast<const arrow::DecimalType&>(*array.type()).scale();
  filler->append(array, [&](int64_t i) { return Decimal(decimals.GetValue(i)).ToDouble(scale); });
}

Status append_values(const arrow::Array& array, Filler<NumberColumn>* filler) {
  switch (array.type_id()) {
    case arrow::Type::INT8:
      append_numbers<arrow::Int8Array>(array, filler);
      break;
    case arrow::Type::INT16:
      append_numbers<arrow::Int16Array>(array, filler);
      break;
    case arrow::Type::INT32:
      append_numbers<arrow::Int32Array>(array, filler);
      break;
    case arrow::Type::INT64:
      append_numbers<arrow::Int64Array>(array, filler);
      break;
    case arrow::Type::UINT8:
      append_numbers<arrow::UInt8Array>(array, filler);
      break;
    case arrow::Type::UINT16:
      append_numbers<arrow::UInt16Array>(array, filler);
      break;
    case arrow::Type::UINT32:
      append_numbers<arrow::UInt32Array>(array, filler);
      break;
    case arrow::Type::UINT64:
      append_numbers<arrow::UInt64Array>(array, filler);
      break;
    case arrow::Type::FLOAT:
      append_numbers<arrow::FloatArray>(array, filler);
      break;
    case arrow::Type::DOUBLE:
      append_numbers<arrow::DoubleArray>(array, filler);
      break;
    case arrow::Type::DECIMAL128:
      append_decimals<arrow::Decimal128Array, arrow::Decimal128>(array, filler);
      break;
    case arrow::Type::DECIMAL256:
      append_decimals<arrow::Decimal256Array, arrow::Decimal256>(array, filler);
      break;
    case arrow::Type::BOOL: {
      const auto& booleans = static_cast<const arrow::BooleanArray&>(array);
      filler->append(array, [&](int64_t i) { return booleans.Value(i) ? 1.0 : 0.0; });
      break;
    }
    case arrow::Type::NA:
      filler->append(array, [](int64_t) { return 0.0; });
      break;
    default:
      return wrong_type(*array.type(), "numbers are");
  }
  return Status::ok();
}

// Rounds towards the past, so that an instant stays in its hour and day.
int64_t floor_divided(int64_t value, int64_t divisor) { return value / divisor - (value % divisor < 0 ? 1 : 0); }

Status append_scaled(const arrow::Array& array, const int64_t* values, int64_t factor, Filler<TimeColumn>* filler) {
  bool overflow = false;
  filler->append(array, [&](int64_t i) {
    int64_t scaled = 0;
    overflow |= __builtin_mul_overflow(values[i], factor, &scaled);
    return scaled;
  });
  return overflow ? invalid_argument("has a time outside the years that microseconds can count") : Status::ok();
}

Status append_values(const arrow::Array& array, Filler<TimeColumn>* filler) {
  switch (array.type_id()) {
    case arrow::Type::TIMESTAMP: {
      const auto* values = static_cast<const arrow::TimestampArray&>(array).raw_values();
      switch (static_cast<const arrow::TimestampType&>(*array.type()).unit()) {
        case arrow::TimeUnit::SECOND:
          return append_scaled(array, values, 1'000'000, filler);
        case arrow::TimeUnit::MILLI:
          return append_scaled(array, values, 1'000, filler);
        case arrow::TimeUnit::MICRO:
          return append_scaled(array, values, 1, filler);
        case arrow::TimeUnit::NANO:
          filler->append(array, [values](int64_t i) { return floor_divided(values[i], 1'000); });
          return Status::ok();
      }
      return internal("unknown unit of time");
    }
    case arrow::Type::DATE32: {
      const auto* values = static_cast<const arrow::Date32Array&>(array).raw_values();
      filler->append(array, [values](int64_t i) { return values[i] * kMicrosPerDay; });
      return Status::ok();
    }
    case arrow::Type::DATE64:
      return append_scaled(array, static_cast<const arrow::Date64Array&>(array).raw_values(), 1'000, filler);
    case arrow::Type::NA:
      filler->append(array, [](int64_t) { return int64_t{0}; });
      return Status::ok();
    default:
      return wrong_type(*array.type(), "a timestamp or a date is");
  }
}

template <class ColumnType>
Status append_any(const arrow::Array& array, Filler<ColumnType>* filler) {
  if (array.type_id() != arrow::Type::DICTIONARY) return append_values(array, filler);
  const auto& encoded = static_cast<const arrow::DictionaryArray&>(array);
  ColumnType words;
  Filler<ColumnType> word_filler(&words, static_cast<size_t>(encoded.dictionary()->length()));
  RETURN_IF_ERROR(append_values(*encoded.dictionary(), &word_filler));
  const auto word_count = static_cast<int64_t>(words.values.size());
  bool out_of_range = false;
  auto is_missing = [&](int64_t i) {
    if (encoded.IsNull(i)) return true;
    const int64_t word = encoded.GetValueIndex(i);
    return word >= 0 && word < word_count && !words.is_valid(static_cast<size_t>(word));
  };
  auto value = [&](int64_t i) {
    const int64_t word = encoded.GetValueIndex(i);
    if (word >= 0 && word < word_count) return words.values[static_cast<size_t>(word)];
    out_of_range = true;
    return typename decltype(ColumnType::values)::value_type{};
  };
  filler->append(array, encoded.null_count() > 0 || !words.valid.empty(), is_missing, value);
  return out_of_range ? corrupt("has a dictionary index out of range") : Status::ok();
}

// Calls append(chunk) for each chunk. A column without chunks still has a type to be judged.
template <class Append>
Status for_each_chunk(const arrow::ChunkedArray& array, Append append) {
  if (array.num_chunks() == 0) {
    auto empty = arrow::MakeEmptyArray(array.type());
    if (!empty.ok()) return internal(empty.status().ToString());
    return append(**empty);
  }
  for (const auto& chunk : array.chunks()) RETURN_IF_ERROR(append(*chunk));
  return Status::ok();
}

template <class ColumnType>
Result<Column> convert_values(const arrow::ChunkedArray& array) {
  ColumnType column;
  Filler<ColumnType> filler(&column, static_cast<size_t>(array.length()));
  RETURN_IF_ERROR(for_each_chunk(array, [&](const arrow::Array& chunk) { return append_any(chunk, &filler); }));
  return Column(std::move(column));
}

// The values of a list column, and where those of each row lie in them.
struct ListSpan {
  std::shared_ptr<arrow::Array> values;
  std::function<int64_t(int64_t)> first, length;
};

template <class ListType>
ListSpan span_of(const arrow::Array& array) {
  const auto& lists = static_cast<const ListType&>(array);
  const int64_t base = lists.value_offset(0), end = lists.value_offset(lists.length());
  return {lists.values()->Slice(base, end - base),
          [&lists, base](int64_t row) { return lists.value_offset(row) - base; },
          [&lists](int64_t row) { return static_cast<int64_t>(lists.value_length(row)); }};
}

Result<ListSpan> span_of(const arrow::Array& array, std::string_view needed) {
  switch (array.type_id()) {
    case arrow::Type::LIST:
      return span_of<arrow::ListArray>(array);
    case arrow::Type::LARGE_LIST:
      return span_of<arrow::LargeListArray>(array);
    case arrow::Type::FIXED_SIZE_LIST:
      return span_of<arrow::FixedSizeListArray>(array);
    case arrow::Type::NA:
      return ListSpan{arrow::MakeEmptyArray(arrow::null()).ValueOrDie(), [](int64_t) { return int64_t{0}; },
                      [](int64_t) { return int64_t{0}; }};
    default:
      return wrong_type(*array.type(), needed);
  }
}

Status append_text_lists(const arrow::Array& array, Interner* interner, TextColumn* column) {
  ASSIGN_OR_RETURN(const auto lists, span_of(array, "lists of categories are"));
  std::vector<int32_t> codes;
  RETURN_IF_ERROR(append_text(*lists.values, interner, &codes));
  for (int64_t row = 0; row < array.length(); ++row) {
    if (!array.IsNull(row)) {
      const auto first = codes.begin() + lists.first(row);
      std::copy_if(first, first + lists.length(row), std::back_inserter(column->codes),
                   [](int32_t code) { return code != kMissing; });
    }
    if (column->codes.size() > UINT32_MAX) return invalid_argument("holds more values than a batch can count");
    column->ends.push_back(static_cast<uint32_t>(column->codes.size()));
  }
  return Status::ok();
}

Status append_number_lists(const arrow::Array& array, uint32_t length, NumberColumn* column) {
  ASSIGN_OR_RETURN(const auto lists, span_of(array, "lists of numbers are"));
  NumberColumn elements;
  Filler<NumberColumn> filler(&elements, static_cast<size_t>(lists.values->length()));
  RETURN_IF_ERROR(append_any(*lists.values, &filler));
  for (int64_t row = 0; row < array.length(); ++row) {
    const bool valid = !array.IsNull(row);
    column->valid.push_back(valid ? 1 : 0);
    if (!valid) {
      column->values.resize(column->values.size() + length);
      continue;
    }
    if (lists.length(row) != int64_t{length}) {
      return invalid_argument("has a list of " + std::to_string(lists.length(row)) + " numbers where the recipe says " +
                              std::to_string(length));
    }
    const auto first = static_cast<size_t>(lists.first(row));
    for (size_t at = first; at < first + length; ++at) {
      if (!elements.is_valid(at)) return invalid_argument("has a list with a number missing in it");
    }
    const auto from = elements.values.begin() + static_cast<ptrdiff_t>(first);
    column->values.insert(column->values.end(), from, from + length);
  }
  return Status::ok();
}

Result<Column> convert_number_lists(const arrow::ChunkedArray& array, uint32_t length) {
  NumberColumn column;
  column.values.reserve(static_cast<size_t>(array.length()) * length);
  RETURN_IF_ERROR(
      for_each_chunk(array, [&](const arrow::Array& chunk) { return append_number_lists(chunk, length, &column); }));
  if (std::find(column.valid.begin(), column.valid.end(), 0) == column.valid.end()) column.valid.clear();
  return Column(std::move(column));
}

Result<Column> convert_text(const arrow::ChunkedArray& array, bool lists) {
  TextColumn column;
  Interner interner(&column);
  column.codes.reserve(static_cast<size_t>(array.length()));
  RETURN_IF_ERROR(for_each_chunk(array, [&](const arrow::Array& chunk) {
    return lists ? append_text_lists(chunk, &interner, &column) : append_text(chunk, &interner, &column.codes);
  }));
  // Arrow asks for this once before the first validation.
  [[maybe_unused]] static const bool ready = (arrow::util::InitializeUTF8(), true);
  for (const auto& value : column.values) {
    if (!arrow::util::ValidateUTF8(value)) return invalid_argument("holds text that is not UTF-8");
  }
  return Column(std::move(column));
}

}  // namespace

Result<Column> convert_column(const arrow::ChunkedArray& array, const ColumnRequest& request) {
  switch (request.use) {
    case ColumnUse::kText:
      return convert_text(array, false);
    case ColumnUse::kTextList:
      return convert_text(array, true);
    case ColumnUse::kNumberList:
      return convert_number_lists(array, request.length);
    case ColumnUse::kNumber:
      return convert_values<NumberColumn>(array);
    case ColumnUse::kTime:
      return convert_values<TimeColumn>(array);
  }
  return internal("unknown use of a column");
}

std::string column_type_name(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::STRING:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::STRING_VIEW:
      return "string";
    case arrow::Type::DICTIONARY:
      return column_type_name(*static_cast<const arrow::DictionaryType&>(type).value_type());
    default:
      return type.ToString();
  }
}

}  // namespace freshet::worker
