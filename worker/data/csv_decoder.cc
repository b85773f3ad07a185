#include <algorithm>
#include <set>

#include <arrow/buffer.h>
#include <arrow/csv/api.h>
#include <arrow/io/memory.h>
#include <arrow/table.h>

#include "worker/data/arrow_column.h"
#include "worker/data/decoder.h"

namespace freshet::worker {
namespace {

constexpr int32_t kBlockBytes = 8 << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// The names in the first line; a quoted name may hold delimiters, line breaks and doubled quotes.
std::vector<std::string> header_names(std::string_view text, char delimiter) {
  std::vector<std::string> names(1);
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      names.back() += '"';
      ++i;
    } else if (c == '"' && (quoted || names.back().empty())) {
      quoted = !quoted;
    } else if (!quoted && (c == '\n' || c == '\r')) {
      break;
    } else if (!quoted && c == delimiter) {
      names.emplace_back();
    } else {
      names.back() += c;
    }
  }
  return names;
}

// Categories and values are read in two passes, because they differ in what a field means: a category keeps its text
// ("007", "NA") and misses only when the field is empty; the type of a value is inferred over the whole file.
class CsvDecoder final : public EntryFile::Decoder {
 public:
  Status parse(std::string bytes, char delimiter, const std::vector<ColumnRequest>& requests) {
    auto buffer = arrow::Buffer::FromString(std::move(bytes));
    std::string_view text(reinterpret_cast<const char*>(buffer->data()), static_cast<size_t>(buffer->size()));
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    column_names = header_names(text, delimiter);
    auto categories = arrow::csv::ConvertOptions::Defaults();
    categories.strings_can_be_null = true;
    categories.null_values = {""};
    auto values = arrow::csv::ConvertOptions::Defaults();
    values.strings_can_be_null = true;
    values.null_values = {"", "NA", "N/A", "n/a", "NULL", "null"};
    std::set<std::string> seen;
    for (const auto& request : requests) {
      if (std::count(column_names.begin(), column_names.end(), request.name) != 1) continue;
      if (request.use == ColumnUse::kText) {
        categories.include_columns.push_back(request.name);
        categories.column_types[request.name] = arrow::utf8();
      } else if (seen.insert(request.name).second) {
        values.include_columns.push_back(request.name);
      }
    }
    if (!categories.include_columns.empty()) RETURN_IF_ERROR(read(buffer, delimiter, categories, &categories_));
    // Also without any column of ours: somebody wants to know how many rows there are.
    if (!values.include_columns.empty() || categories_ == nullptr) {
      RETURN_IF_ERROR(read(buffer, delimiter, values, &values_));
    }
    rows = static_cast<uint64_t>((categories_ ? categories_ : values_)->num_rows());
    return Status::ok();
  }

  Result<std::shared_ptr<arrow::ChunkedArray>> column(const ColumnRequest& request) override {
    const auto& table = request.use == ColumnUse::kText ? categories_ : values_;
    auto array = table == nullptr ? nullptr : table->GetColumnByName(request.name);
    if (array == nullptr) return internal("column '" + request.name + "' was not asked for when the file was opened");
    return array;
  }

  std::string type_name(const arrow::DataType& type, ColumnUse use) const override {
    // Whether one file's numbers happen to be whole, or a column happens to be empty, is no property of the data.
    if (use == ColumnUse::kNumber && (type.id() == arrow::Type::INT64 || type.id() == arrow::Type::NA)) return "double";
    return column_type_name(type);
  }

 private:
  static Status read(const std::shared_ptr<arrow::Buffer>& buffer, char delimiter,
                     const arrow::csv::ConvertOptions& convert, std::shared_ptr<arrow::Table>* table) {
    auto read_options = arrow::csv::ReadOptions::Defaults();
    read_options.use_threads = false;
    read_options.block_size = kBlockBytes;
    auto parse_options = arrow::csv::ParseOptions::Defaults();
    parse_options.delimiter = delimiter;
    parse_options.newlines_in_values = true;
    auto reader = arrow::csv::TableReader::Make(arrow::io::default_io_context(),
                                                std::make_shared<arrow::io::BufferReader>(buffer), read_options,
                                                parse_options, convert);
    if (!reader.ok()) return corrupt("damaged CSV file: " + reader.status().message());
    auto result = (*reader)->Read();
    if (!result.ok()) return corrupt("damaged CSV file: " + result.status().message());
    *table = *result;
    return Status::ok();
  }

  std::shared_ptr<arrow::Table> categories_;
  std::shared_ptr<arrow::Table> values_;
};

}  // namespace

Result<std::unique_ptr<EntryFile::Decoder>> open_csv(std::string bytes, char delimiter,
                                                     const std::vector<ColumnRequest>& requests) {
  auto decoder = std::make_unique<CsvDecoder>();
  RETURN_IF_ERROR(decoder->parse(std::move(bytes), delimiter, requests));
  return std::unique_ptr<EntryFile::Decoder>(std::move(decoder));
}

}  // namespace freshet::worker
