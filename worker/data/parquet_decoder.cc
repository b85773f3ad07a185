#include <algorithm>
#include <exception>
#include <functional>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <parquet/arrow/reader.h>
#include <parquet/file_reader.h>
#include <parquet/properties.h>
#include <parquet/schema.h>

#include "worker/data/arrow_column.h"
#include "worker/data/decoder.h"

namespace freshet::worker {
namespace {

// A reader for a part begins by reading the file's footer, whose size grows with the number of row groups.
constexpr int kPartsMax = 64;
// Pages are read in pieces, so that a row group needs no memory of its own size.
constexpr int64_t kStreamBytes = 256 << 10;

Status damaged(const std::string& why) { return corrupt("damaged Parquet file: " + why); }

// Exceptions and Arrow's status become ours.
Status guarded(const std::function<arrow::Status()>& call) {
  try {
    auto status = call();
    return status.ok() ? Status::ok() : damaged(status.message());
  } catch (const std::exception& e) {
    return damaged(e.what());
  }
}

bool wants(const std::vector<ColumnRequest>& requests, const std::string& name, ColumnUse use) {
  return std::any_of(requests.begin(), requests.end(),
                     [&](const ColumnRequest& request) { return request.name == name && request.use == use; });
}

parquet::ReaderProperties reader_properties() {
  parquet::ReaderProperties properties;
  properties.set_page_checksum_verification(true);
  properties.enable_buffered_stream();
  properties.set_buffer_size(kStreamBytes);
  return properties;
}

// One column of a run of row groups. Several columns are read by several of these, so that an error names its column.
class ParquetColumn {
 public:
  ParquetColumn(std::string name, std::shared_ptr<arrow::RecordBatchReader> reader)
      : name_(std::move(name)), reader_(std::move(reader)) {}

  // The next `rows` values.
  Result<std::shared_ptr<arrow::ChunkedArray>> next(uint64_t rows) {
    arrow::ArrayVector chunks;
    while (rows > 0) {
      if (rest_ == nullptr || rest_->length() == 0) RETURN_IF_ERROR(fill().with_context("column '" + name_ + "'"));
      const int64_t taken = std::min(rest_->length(), static_cast<int64_t>(rows));
      chunks.push_back(rest_->Slice(0, taken));
      rest_ = rest_->Slice(taken);
      rows -= static_cast<uint64_t>(taken);
    }
    return std::make_shared<arrow::ChunkedArray>(std::move(chunks), reader_->schema()->field(0)->type());
  }

  std::string type() const { return column_type_name(*reader_->schema()->field(0)->type()); }

 private:
  Status fill() {
    std::shared_ptr<arrow::RecordBatch> batch;
    RETURN_IF_ERROR(guarded([&] { return reader_->ReadNext(&batch); }));
    if (batch == nullptr) return damaged("the column has fewer rows than the file says");
    rest_ = batch->column(0);
    return Status::ok();
  }

  const std::string name_;
  const std::shared_ptr<arrow::RecordBatchReader> reader_;
  std::shared_ptr<arrow::Array> rest_;  // decoded, but not given out
};

class ParquetRows final : public EntryFile::Decoder::Rows {
 public:
  // `reader` must outlive its columns.
  ParquetRows(std::unique_ptr<parquet::arrow::FileReader> reader, uint64_t rows, size_t batch_rows,
              std::vector<ParquetColumn> columns, std::vector<size_t> column_of_request)
      : reader_(std::move(reader)),
        rows_left_(rows),
        batch_rows_(batch_rows),
        columns_(std::move(columns)),
        column_of_request_(std::move(column_of_request)) {}

  Result<std::optional<EntryFile::RawBatch>> next() override {
    if (rows_left_ == 0 && has_given_) return std::optional<EntryFile::RawBatch>();
    has_given_ = true;
    EntryFile::RawBatch batch;
    batch.rows = std::min<uint64_t>(rows_left_, batch_rows_);
    std::vector<std::shared_ptr<arrow::ChunkedArray>> arrays;
    for (auto& column : columns_) {
      ASSIGN_OR_RETURN(arrays.emplace_back(), column.next(batch.rows));
    }
    for (size_t column : column_of_request_) {
      batch.columns.push_back(arrays[column]);
      batch.types.push_back(columns_[column].type());
    }
    rows_left_ -= batch.rows;
    return std::optional(std::move(batch));
  }

 private:
  const std::unique_ptr<parquet::arrow::FileReader> reader_;
  uint64_t rows_left_;
  const size_t batch_rows_;
  std::vector<ParquetColumn> columns_;
  const std::vector<size_t> column_of_request_;
  bool has_given_ = false;
};

class ParquetDecoder final : public EntryFile::Decoder {
 public:
  Status open(EntryBytes file) {
    file_ = std::move(file);
    RETURN_IF_ERROR(guarded([&] {
      metadata_ = parquet::ParquetFileReader::Open(file_, reader_properties())->metadata();
      return arrow::Status::OK();
    }));
    const auto* root = metadata_->schema()->group_node();
    for (int i = 0; i < root->field_count(); ++i) column_names.push_back(root->field(i)->name());
    parts = static_cast<size_t>(std::clamp(metadata_->num_row_groups(), 1, kPartsMax));
    return Status::ok();
  }

  Result<std::unique_ptr<Rows>> read(size_t part, const std::vector<ColumnRequest>& requests) override {
    const auto groups = static_cast<size_t>(metadata_->num_row_groups());
    std::vector<int> row_groups;
    uint64_t rows = 0;
    for (size_t group = groups * part / parts; group < groups * (part + 1) / parts; ++group) {
      row_groups.push_back(static_cast<int>(group));
      rows += static_cast<uint64_t>(std::max<int64_t>(metadata_->RowGroup(static_cast<int>(group))->num_rows(), 0));
    }
    size_t values = 0;
    for (const auto& request : requests) values += std::max(request.length, 1U);
    const size_t batch_rows = std::clamp<size_t>(kBatchValues / std::max<size_t>(values, 1), 1, kBatchRows);

    std::unique_ptr<parquet::arrow::FileReader> reader;
    RETURN_IF_ERROR(guarded([&] {
      return parquet::arrow::FileReader::Make(arrow::default_memory_pool(),
                                              parquet::ParquetFileReader::Open(file_, reader_properties(), metadata_),
                                              properties_for(requests, static_cast<int64_t>(batch_rows)), &reader);
    }));
    std::vector<ParquetColumn> columns;
    std::vector<std::string> names;
    std::vector<size_t> column_of_request;
    for (const auto& request : requests) {
      const auto known = static_cast<size_t>(std::find(names.begin(), names.end(), request.name) - names.begin());
      column_of_request.push_back(known);
      if (known < names.size()) continue;
      names.push_back(request.name);
      std::shared_ptr<arrow::RecordBatchReader> column;
      RETURN_IF_ERROR(guarded([&] {
                        auto made = reader->GetRecordBatchReader(row_groups, leaves_of(request.name));
                        if (made.ok()) column = *std::move(made);
                        return made.status();
                      }).with_context("column '" + request.name + "'"));
      columns.emplace_back(request.name, std::move(column));
    }
    return std::unique_ptr<Rows>(std::make_unique<ParquetRows>(std::move(reader), rows, batch_rows, std::move(columns),
                                                               std::move(column_of_request)));
  }

 private:
  std::vector<int> leaves_of(const std::string& name) const {
    std::vector<int> leaves;
    const auto* schema = metadata_->schema();
    for (int leaf = 0; leaf < schema->num_columns(); ++leaf) {
      if (schema->GetColumnRoot(leaf)->name() == name) leaves.push_back(leaf);
    }
    return leaves;
  }

  parquet::ArrowReaderProperties properties_for(const std::vector<ColumnRequest>& requests, int64_t batch_rows) const {
    parquet::ArrowReaderProperties properties;
    // Parts are what is spread over threads.
    properties.set_use_threads(false);
    properties.set_pre_buffer(false);
    properties.set_batch_size(batch_rows);
    // Words stay the codes they are in the file: hashing every row's text would be most of the work.
    const auto* schema = metadata_->schema();
    for (int leaf = 0; leaf < schema->num_columns(); ++leaf) {
      const auto* column = schema->Column(leaf);
      const std::string& name = column->name();
      if (column->physical_type() == parquet::Type::BYTE_ARRAY && schema->GetColumnRoot(leaf)->is_primitive() &&
          wants(requests, name, ColumnUse::kText) && !wants(requests, name, ColumnUse::kNumber) &&
          !wants(requests, name, ColumnUse::kTime)) {
        properties.set_read_dictionary(leaf, true);
      }
    }
    return properties;
  }

  EntryBytes file_;
  std::shared_ptr<parquet::FileMetaData> metadata_;
};

}  // namespace

Result<std::unique_ptr<EntryFile::Decoder>> open_parquet(EntryBytes file) {
  auto size = file->GetSize();
  if (!size.ok()) return unavailable("cannot be read: " + size.status().message());
  // The smallest file: magic, an empty footer's length, magic.
  auto end = *size < 12 ? arrow::Result<std::shared_ptr<arrow::Buffer>>(nullptr) : file->ReadAt(*size - 4, 4);
  if (!end.ok() || *end == nullptr || (*end)->ToString() != "PAR1") {
    return corrupt("truncated Parquet file (no PAR1 at its end): it was copied in part or is still being written");
  }
  auto decoder = std::make_unique<ParquetDecoder>();
  RETURN_IF_ERROR(decoder->open(std::move(file)));
  return std::unique_ptr<EntryFile::Decoder>(std::move(decoder));
}

}  // namespace freshet::worker
