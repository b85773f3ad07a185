#include <algorithm>
#include <set>

#include <arrow/buffer.h>
#include <arrow/csv/api.h>
#include <arrow/csv/chunker.h>
#include <arrow/io/memory.h>
#include <arrow/table.h>
#include <arrow/util/delimiting.h>

#include "worker/data/arrow_column.h"
#include "worker/data/block_reader.h"
#include "worker/data/decoder.h"
#include "worker/data/text_types.h"

namespace freshet::worker {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

arrow::csv::ParseOptions parse_options(char delimiter) {
  auto options = arrow::csv::ParseOptions::Defaults();
  options.delimiter = delimiter;
  options.newlines_in_values = true;
  return options;
}

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

// Whether one block's numbers happen to be whole, or a column happens to be empty, is no property of the data.
std::string shown_type(const arrow::DataType& type, ColumnUse use) {
  if (use == ColumnUse::kNumber && (type.id() == arrow::Type::INT64 || type.id() == arrow::Type::NA)) return "double";
  return column_type_name(type);
}

// Categories and values are read in two passes, because they differ in what a field means: a category keeps its text
// ("007", "NA") and misses only when the field is empty; the type of a value is inferred.
class CsvRows final : public EntryFile::Decoder::Rows {
 public:
  CsvRows(EntryBytes file, char delimiter, std::vector<std::string> names, bool has_header,
          std::vector<ColumnRequest> requests)
      : chunker_(arrow::csv::MakeChunker(parse_options(delimiter))),
        blocks_(std::move(file), [this](const std::shared_ptr<arrow::Buffer>& block) { return cut(block); }),
        delimiter_(delimiter),
        names_(std::move(names)),
        is_header_next_(has_header),
        requests_(std::move(requests)),
        types_(requests_.size()) {
    categories_ = arrow::csv::ConvertOptions::Defaults();
    categories_.strings_can_be_null = true;
    categories_.null_values = {""};
    values_ = arrow::csv::ConvertOptions::Defaults();
    values_.strings_can_be_null = true;
    values_.null_values = {"", "NA", "N/A", "n/a", "NULL", "null"};
    std::set<std::string> seen;
    for (const auto& request : requests_) {
      if (request.use == ColumnUse::kText) {
        categories_.include_columns.push_back(request.name);
        categories_.column_types[request.name] = arrow::utf8();
      } else if (seen.insert(request.name).second) {
        values_.include_columns.push_back(request.name);
      }
    }
  }

  Result<std::optional<EntryFile::RawBatch>> next() override {
    ASSIGN_OR_RETURN(const auto block, blocks_.next());
    if (block == nullptr) return std::optional<EntryFile::RawBatch>();
    std::shared_ptr<arrow::Table> categories, values;
    if (!categories_.include_columns.empty()) RETURN_IF_ERROR(parse(block, categories_, &categories));
    // Also without any column of ours: somebody wants to know how many rows there are.
    if (!values_.include_columns.empty() || categories == nullptr) RETURN_IF_ERROR(parse(block, values_, &values));
    is_header_next_ = false;

    EntryFile::RawBatch batch;
    batch.rows = static_cast<uint64_t>((categories ? categories : values)->num_rows());
    for (size_t i = 0; i < requests_.size(); ++i) {
      const auto& request = requests_[i];
      const auto array = (request.use == ColumnUse::kText ? categories : values)->GetColumnByName(request.name);
      if (array == nullptr) return internal("column '" + request.name + "' was not parsed");
      types_[i] = type_of_both(types_[i], array->type());
      // Numbers in one block and words in another are words.
      if (types_[i]->id() == arrow::Type::STRING && array->type()->id() != arrow::Type::STRING) {
        ASSIGN_OR_RETURN(auto empty, missing_column(types_[i], array->length()));
        batch.columns.push_back(std::move(empty));
      } else {
        batch.columns.push_back(array);
      }
      batch.types.push_back(shown_type(*types_[i], request.use));
    }
    rows_before_ += batch.rows;
    return std::optional(std::move(batch));
  }

 private:
  Result<int64_t> cut(const std::shared_ptr<arrow::Buffer>& block) {
    std::shared_ptr<arrow::Buffer> whole, rest;
    auto status = chunker_->Process(block, &whole, &rest);
    if (!status.ok()) return damaged(status);
    return whole->size();
  }

  Status parse(const std::shared_ptr<arrow::Buffer>& block, const arrow::csv::ConvertOptions& convert,
               std::shared_ptr<arrow::Table>* table) const {
    auto options = arrow::csv::ReadOptions::Defaults();
    options.use_threads = false;
    options.block_size = static_cast<int32_t>(std::min<int64_t>(block->size() + 1, INT32_MAX));
    if (!is_header_next_) options.column_names = names_;
    auto reader =
        arrow::csv::TableReader::Make(arrow::io::default_io_context(), std::make_shared<arrow::io::BufferReader>(block),
                                      options, parse_options(delimiter_), convert);
    if (!reader.ok()) return damaged(reader.status());
    auto result = (*reader)->Read();
    if (!result.ok()) return damaged(result.status());
    *table = *result;
    return Status::ok();
  }

  // Arrow counts rows from the block's first.
  Status damaged(const arrow::Status& status) const {
    const std::string where = rows_before_ == 0 ? "" : "after " + std::to_string(rows_before_) + " rows: ";
    return corrupt("damaged CSV file: " + where + status.message());
  }

  const std::unique_ptr<arrow::Chunker> chunker_;
  BlockReader blocks_;
  const char delimiter_;
  const std::vector<std::string> names_;
  bool is_header_next_;
  const std::vector<ColumnRequest> requests_;
  arrow::csv::ConvertOptions categories_, values_;
  std::vector<std::shared_ptr<arrow::DataType>> types_;  // of all rows so far
  uint64_t rows_before_ = 0;
};

class CsvDecoder final : public EntryFile::Decoder {
 public:
  CsvDecoder(EntryBytes file, char delimiter, bool has_header)
      : file_(std::move(file)), delimiter_(delimiter), has_header_(has_header) {}

  Result<std::unique_ptr<Rows>> read(size_t, const std::vector<ColumnRequest>& requests) override {
    return std::unique_ptr<Rows>(std::make_unique<CsvRows>(file_, delimiter_, column_names, has_header_, requests));
  }

 private:
  const EntryBytes file_;
  const char delimiter_;
  const bool has_header_;
};

}  // namespace

Result<std::unique_ptr<EntryFile::Decoder>> open_csv(EntryBytes file, char delimiter,
                                                     const std::vector<std::string>& header) {
  auto decoder = std::make_unique<CsvDecoder>(file, delimiter, header.empty());
  decoder->column_names = header;
  if (header.empty()) {
    auto start = file->ReadAt(0, static_cast<int64_t>(kBatchBytes));
    if (!start.ok()) return unavailable("cannot be read: " + start.status().message());
    std::string_view text(reinterpret_cast<const char*>((*start)->data()), static_cast<size_t>((*start)->size()));
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    decoder->column_names = header_names(text, delimiter);
  }
  return std::unique_ptr<EntryFile::Decoder>(std::move(decoder));
}

}  // namespace freshet::worker
