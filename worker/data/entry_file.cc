#include "worker/data/entry_file.h"

#include <algorithm>

#include "base/file.h"
#include "base/sha256.h"
#include "worker/data/arrow_column.h"
#include "worker/data/decoder.h"
#include "worker/data/entry.h"

namespace freshet::worker {
namespace {

constexpr size_t kNamesShown = 40;

std::string joined_names(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < kNamesShown; ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kNamesShown) text += " and " + std::to_string(names.size() - kNamesShown) + " more";
  return text;
}

Result<std::unique_ptr<EntryFile::Decoder>> open_bytes(const std::string& uri, std::string bytes,
                                                       const std::vector<ColumnRequest>& requests) {
  if (bytes.empty()) return corrupt("the file is empty");
  if (bytes.starts_with("PAR1")) return open_parquet(std::move(bytes), requests);
  const auto extension = std::filesystem::path(uri).extension();
  if (extension == ".csv") return open_csv(std::move(bytes), ',', requests);
  if (extension == ".tsv") return open_csv(std::move(bytes), '\t', requests);
  if (extension == ".parquet") return corrupt("not a Parquet file (no PAR1 at its start)");
  return corrupt("neither a Parquet file (no PAR1 at its start) nor named .csv or .tsv");
}

}  // namespace

Result<EntryFile> EntryFile::open(const std::filesystem::path& directory, const v1::DatasetEntry& entry,
                                  const std::vector<ColumnRequest>& requests) {
  ASSIGN_OR_RETURN(const auto path, entry_path(directory, entry));
  auto bytes = read_file(path);
  if (!bytes.is_ok()) return entry_unreadable(entry, bytes.status());
  if (!entry.sha256().empty()) RETURN_IF_ERROR(verify_entry(entry, Sha256::hex_of(*bytes)));
  auto decoder = open_bytes(entry.uri(), std::move(bytes).value(), requests);
  if (!decoder.is_ok()) return decoder.status().with_context(entry.uri());
  return EntryFile(entry.uri(), std::move(decoder).value());
}

uint64_t EntryFile::rows() const { return decoder_->rows; }

const std::vector<std::string>& EntryFile::column_names() const { return decoder_->column_names; }

bool EntryFile::has_column(const std::string& name) const {
  return std::find(column_names().begin(), column_names().end(), name) != column_names().end();
}

Result<std::shared_ptr<arrow::ChunkedArray>> EntryFile::raw(const ColumnRequest& request) const {
  const auto count = std::count(column_names().begin(), column_names().end(), request.name);
  if (count == 0) {
    return invalid_argument("column '" + request.name + "' is missing in " + uri_ +
                            ", which has: " + joined_names(column_names()));
  }
  if (count > 1) {
    return invalid_argument("column '" + request.name + "' is there " + std::to_string(count) + " times in " + uri_);
  }
  auto array = decoder_->column(request);
  if (!array.is_ok()) return array.status().with_context(uri_ + ": column '" + request.name + "'");
  if (static_cast<uint64_t>((*array)->length()) != rows()) {
    return corrupt(uri_ + ": column '" + request.name + "' has " + std::to_string((*array)->length()) +
                   " rows and the file " + std::to_string(rows()));
  }
  return array;
}

Result<Column> EntryFile::read(const ColumnRequest& request) const {
  ASSIGN_OR_RETURN(const auto array, raw(request));
  auto column = convert_column(*array, request);
  if (column.is_ok()) return column;
  return Status(column.status().code(), "column '" + request.name + "' in " + uri_ + " " + column.status().message());
}

Result<EntryFile::RawColumn> EntryFile::describe(const ColumnRequest& request) const {
  ASSIGN_OR_RETURN(const auto array, raw(request));
  return RawColumn{decoder_->type_name(*array->type(), request.use), static_cast<uint64_t>(array->null_count())};
}

EntryFile::EntryFile(std::string uri, std::unique_ptr<Decoder> decoder)
    : uri_(std::move(uri)), decoder_(std::move(decoder)) {}
EntryFile::EntryFile(EntryFile&&) noexcept = default;
EntryFile& EntryFile::operator=(EntryFile&&) noexcept = default;
EntryFile::~EntryFile() = default;

}  // namespace freshet::worker
