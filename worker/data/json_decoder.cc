#include <algorithm>

#include <arrow/io/memory.h>
#include <arrow/json/api.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "worker/data/arrow_column.h"
#include "worker/data/block_reader.h"
#include "worker/data/decoder.h"
#include "worker/data/text_types.h"

namespace freshet::worker {
namespace {

Status damaged(const arrow::Status& status) { return corrupt("damaged JSON lines: " + status.message()); }

// A line break inside of a text is written as \n, so each one in the file ends an object.
Result<int64_t> whole_lines(const std::shared_ptr<arrow::Buffer>& block) {
  const std::string_view text(reinterpret_cast<const char*>(block->data()), static_cast<size_t>(block->size()));
  const size_t end = text.rfind('\n');
  return end == std::string_view::npos ? 0 : static_cast<int64_t>(end + 1);
}

// `texts`: the schema of columns that are to be read as text, also where they look like times.
Result<std::shared_ptr<arrow::Table>> parse(const std::shared_ptr<arrow::Buffer>& block,
                                            const std::shared_ptr<arrow::Schema>& texts) {
  auto read = arrow::json::ReadOptions::Defaults();
  read.use_threads = false;
  read.block_size = static_cast<int32_t>(std::min<int64_t>(block->size() + 1, INT32_MAX));
  auto options = arrow::json::ParseOptions::Defaults();
  options.explicit_schema = texts;
  auto reader = arrow::json::TableReader::Make(arrow::default_memory_pool(),
                                               std::make_shared<arrow::io::BufferReader>(block), read, options);
  if (!reader.ok()) return damaged(reader.status());
  auto table = (*reader)->Read();
  if (!table.ok()) return damaged(table.status());
  return *table;
}

class JsonRows final : public EntryFile::Decoder::Rows {
 public:
  JsonRows(EntryBytes file, std::vector<ColumnRequest> requests)
      : blocks_(std::move(file), whole_lines), requests_(std::move(requests)), types_(requests_.size()) {}

  Result<std::optional<EntryFile::RawBatch>> next() override {
    ASSIGN_OR_RETURN(const auto block, blocks_.next());
    if (block == nullptr) return std::optional<EntryFile::RawBatch>();
    ASSIGN_OR_RETURN(auto table, parse(block, nullptr));
    if (const auto texts = times_wanted_as_text(*table); texts->num_fields() > 0) {
      ASSIGN_OR_RETURN(table, parse(block, texts));
    }
    EntryFile::RawBatch batch;
    batch.rows = static_cast<uint64_t>(table->num_rows());
    for (size_t i = 0; i < requests_.size(); ++i) {
      ASSIGN_OR_RETURN(auto column, column_of(*table, requests_[i].name));
      types_[i] = type_of_both(types_[i], column->type());
      const bool is_whole_number = types_[i]->id() == arrow::Type::INT64 && requests_[i].use == ColumnUse::kNumber;
      batch.types.push_back(is_whole_number ? "double" : column_type_name(*types_[i]));
      batch.columns.push_back(std::move(column));
    }
    return std::optional(std::move(batch));
  }

 private:
  std::shared_ptr<arrow::Schema> times_wanted_as_text(const arrow::Table& table) const {
    arrow::FieldVector fields;
    for (const auto& request : requests_) {
      const auto field = table.schema()->GetFieldByName(request.name);
      if (request.use == ColumnUse::kText && field != nullptr && field->type()->id() == arrow::Type::TIMESTAMP) {
        fields.push_back(arrow::field(request.name, arrow::utf8()));
      }
    }
    return arrow::schema(std::move(fields));
  }

  // An object need not have every field; nor need a block.
  static Result<std::shared_ptr<arrow::ChunkedArray>> column_of(const arrow::Table& table, const std::string& name) {
    auto column = table.GetColumnByName(name);
    if (column != nullptr) return column;
    return missing_column(arrow::null(), table.num_rows());
  }

  BlockReader blocks_;
  const std::vector<ColumnRequest> requests_;
  std::vector<std::shared_ptr<arrow::DataType>> types_;  // of all rows so far
};

class JsonDecoder final : public EntryFile::Decoder {
 public:
  explicit JsonDecoder(EntryBytes file) : file_(std::move(file)) {}

  Result<std::unique_ptr<Rows>> read(size_t, const std::vector<ColumnRequest>& requests) override {
    return std::unique_ptr<Rows>(std::make_unique<JsonRows>(file_, requests));
  }

 private:
  const EntryBytes file_;
};

}  // namespace

Result<std::unique_ptr<EntryFile::Decoder>> open_json_lines(EntryBytes file) {
  auto decoder = std::make_unique<JsonDecoder>(file);
  BlockReader blocks(std::move(file), whole_lines);
  ASSIGN_OR_RETURN(const auto block, blocks.next());
  ASSIGN_OR_RETURN(const auto table, parse(block, nullptr));
  decoder->column_names = table->ColumnNames();
  return std::unique_ptr<EntryFile::Decoder>(std::move(decoder));
}

}  // namespace freshet::worker
