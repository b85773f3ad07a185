#include <algorithm>
#include <exception>

#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
#include <parquet/file_reader.h>
#include <parquet/properties.h>
#include <parquet/schema.h>

#include "worker/data/arrow_column.h"
#include "worker/data/decoder.h"

namespace freshet::worker {
namespace {

bool wants(const std::vector<ColumnRequest>& requests, const std::string& name, ColumnUse use) {
  return std::find(requests.begin(), requests.end(), ColumnRequest{name, use}) != requests.end();
}

class ParquetDecoder final : public EntryFile::Decoder {
 public:
  ParquetDecoder(std::unique_ptr<parquet::ParquetFileReader> file, const std::vector<ColumnRequest>& requests) {
    rows = static_cast<uint64_t>(file->metadata()->num_rows());
    const auto* schema = file->metadata()->schema();
    parquet::ArrowReaderProperties properties;
    // Entries are what is spread over threads, and the bytes are in memory already.
    properties.set_use_threads(false);
    properties.set_pre_buffer(false);
    for (int i = 0; i < schema->group_node()->field_count(); ++i) {
      column_names.push_back(schema->group_node()->field(i)->name());
    }
    // Words stay the codes they are in the file: hashing every row's text would be most of the work.
    for (int leaf = 0; leaf < schema->num_columns(); ++leaf) {
      const auto* column = schema->Column(leaf);
      if (column->physical_type() == parquet::Type::BYTE_ARRAY && wants(requests, column->name(), ColumnUse::kText) &&
          !wants(requests, column->name(), ColumnUse::kNumber) && !wants(requests, column->name(), ColumnUse::kTime)) {
        properties.set_read_dictionary(leaf, true);
      }
    }
    reader_status_ =
        parquet::arrow::FileReader::Make(arrow::default_memory_pool(), std::move(file), properties, &reader_);
  }

  const arrow::Status& reader_status() const { return reader_status_; }

  Result<std::shared_ptr<arrow::ChunkedArray>> column(const ColumnRequest& request) override {
    auto index = std::find(column_names.begin(), column_names.end(), request.name) - column_names.begin();
    try {
      std::shared_ptr<arrow::ChunkedArray> array;
      auto status = reader_->ReadColumn(static_cast<int>(index), &array);
      if (!status.ok()) return corrupt("damaged Parquet file: " + status.message());
      return array;
    } catch (const std::exception& e) {
      return corrupt(std::string("damaged Parquet file: ") + e.what());
    }
  }

  std::string type_name(const arrow::DataType& type, ColumnUse) const override { return column_type_name(type); }

 private:
  arrow::Status reader_status_;
  std::unique_ptr<parquet::arrow::FileReader> reader_;
};

}  // namespace

Result<std::unique_ptr<EntryFile::Decoder>> open_parquet(std::string bytes,
                                                         const std::vector<ColumnRequest>& requests) {
  // The smallest file: magic, an empty footer's length, magic.
  if (bytes.size() < 12 || !bytes.ends_with("PAR1")) {
    return corrupt("truncated Parquet file (no PAR1 at its end): it was copied in part or is still being written");
  }
  try {
    parquet::ReaderProperties properties;
    properties.set_page_checksum_verification(true);
    auto input = std::make_shared<arrow::io::BufferReader>(arrow::Buffer::FromString(std::move(bytes)));
    auto decoder = std::make_unique<ParquetDecoder>(parquet::ParquetFileReader::Open(input, properties), requests);
    if (!decoder->reader_status().ok()) return corrupt("damaged Parquet file: " + decoder->reader_status().message());
    return std::unique_ptr<EntryFile::Decoder>(std::move(decoder));
  } catch (const std::exception& e) {
    return corrupt(std::string("damaged Parquet file: ") + e.what());
  }
}

}  // namespace freshet::worker
