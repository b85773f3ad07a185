#include "worker/data/entry_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include <arrow/buffer.h>

#include "base/file.h"
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

Result<EntryFile::Identity> identity_of(const std::filesystem::path& path) {
  struct stat found{};
  if (::stat(path.c_str(), &found) != 0) {
    return errno == ENOENT ? not_found("no such file") : unavailable("cannot be looked at");
  }
  return EntryFile::Identity{found.st_ino, static_cast<uint64_t>(found.st_size),
                             found.st_ctim.tv_sec * 1'000'000'000 + found.st_ctim.tv_nsec};
}

Status check_unchanged(const std::filesystem::path& path, const EntryFile::Identity& known) {
  ASSIGN_OR_RETURN(const auto now, identity_of(path));
  return now == known ? Status::ok() : conflict("the file has changed while it was read");
}

Result<std::unique_ptr<EntryFile::Decoder>> open_decoder(const std::string& uri, EntryBytes file,
                                                         const std::vector<std::string>& header) {
  auto start = file->ReadAt(0, 4);
  if (!start.ok()) return unavailable("cannot be read: " + start.status().message());
  const std::string magic = (*start)->ToString();
  if (magic.empty()) return corrupt("the file is empty");
  if (magic == "PAR1") return open_parquet(std::move(file));
  const auto extension = std::filesystem::path(uri).extension();
  if (extension == ".csv") return open_csv(std::move(file), ',', header);
  if (extension == ".tsv") return open_csv(std::move(file), '\t', header);
  if (extension == ".jsonl") return open_json_lines(std::move(file));
  if (extension == ".parquet") return corrupt("not a Parquet file (no PAR1 at its start)");
  return corrupt("neither a Parquet file (no PAR1 at its start) nor named .csv, .tsv or .jsonl");
}

}  // namespace

struct EntryFile::Rows::Impl {
  std::filesystem::path path;
  std::string uri;
  Identity identity;
  std::vector<ColumnRequest> requests;
  std::unique_ptr<Decoder::Rows> rows;
  RawBatch batch;
};

Result<EntryFile> EntryFile::open_as(const std::filesystem::path& path, const v1::DatasetEntry& entry,
                                     const std::vector<std::string>& header, const Identity& identity) {
  auto file = arrow::io::ReadableFile::Open(path.string());
  if (!file.ok()) return unavailable("cannot be read: " + file.status().message()).with_context(entry.uri());
  auto decoder = open_decoder(entry.uri(), *file, header);
  if (!decoder.is_ok()) return decoder.status().with_context(entry.uri());
  return EntryFile(path, entry.uri(), identity, std::move(decoder).value());
}

Result<EntryFile> EntryFile::open(const std::filesystem::path& directory, const v1::DatasetEntry& entry,
                                  const std::vector<std::string>& header) {
  ASSIGN_OR_RETURN(const auto path, entry_path(directory, entry));
  auto identity = identity_of(path);
  if (!identity.is_ok()) return entry_unreadable(entry, identity.status());
  if (!entry.sha256().empty()) {
    auto digest = digest_file(path);
    if (!digest.is_ok()) return entry_unreadable(entry, digest.status());
    RETURN_IF_ERROR(verify_entry(entry, digest->sha256));
  }
  return open_as(path, entry, header, *identity);
}

Result<EntryFile> EntryFile::reopen(const std::filesystem::path& directory, const v1::DatasetEntry& entry,
                                    const std::vector<std::string>& header, const Identity& known) {
  ASSIGN_OR_RETURN(const auto path, entry_path(directory, entry));
  if (Status status = check_unchanged(path, known); !status.is_ok()) return entry_unreadable(entry, status);
  return open_as(path, entry, header, known);
}

const std::vector<std::string>& EntryFile::column_names() const { return decoder_->column_names; }

bool EntryFile::has_column(const std::string& name) const {
  return std::find(column_names().begin(), column_names().end(), name) != column_names().end();
}

size_t EntryFile::parts() const { return decoder_->parts; }

Status EntryFile::check_columns(const std::vector<ColumnRequest>& requests) const {
  for (const auto& request : requests) {
    const auto count = std::count(column_names().begin(), column_names().end(), request.name);
    if (count == 0) {
      return invalid_argument("column '" + request.name + "' is missing in " + uri_ +
                              ", which has: " + joined_names(column_names()));
    }
    if (count > 1) {
      return invalid_argument("column '" + request.name + "' is there " + std::to_string(count) + " times in " + uri_);
    }
  }
  return Status::ok();
}

Result<EntryFile::Rows> EntryFile::read(size_t part, const std::vector<ColumnRequest>& requests) const {
  RETURN_IF_ERROR(check_columns(requests));
  auto rows = decoder_->read(part, requests);
  if (!rows.is_ok()) return rows.status().with_context(uri_);
  return Rows(
      std::make_unique<Rows::Impl>(Rows::Impl{path_, uri_, identity_, requests, std::move(rows).value(), RawBatch()}));
}

Result<bool> EntryFile::Rows::next() {
  auto batch = impl_->rows->next();
  if (!batch.is_ok()) return batch.status().with_context(impl_->uri);
  if (*batch) {
    impl_->batch = *std::move(batch).value();
    return true;
  }
  if (Status status = check_unchanged(impl_->path, impl_->identity); !status.is_ok()) {
    return status.with_context(impl_->uri);
  }
  return false;
}

uint64_t EntryFile::Rows::rows() const { return impl_->batch.rows; }

Result<Column> EntryFile::Rows::column(size_t i) const {
  const auto& request = impl_->requests[i];
  auto column = convert_column(*impl_->batch.columns[i], request);
  if (column.is_ok()) return column;
  return Status(column.status().code(),
                "column '" + request.name + "' in " + impl_->uri + " " + column.status().message());
}

std::string EntryFile::Rows::type(size_t i) const { return impl_->batch.types[i]; }

uint64_t EntryFile::Rows::missing(size_t i) const {
  return static_cast<uint64_t>(impl_->batch.columns[i]->null_count());
}

EntryFile::Rows::Rows(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EntryFile::Rows::Rows(Rows&&) noexcept = default;
EntryFile::Rows::~Rows() = default;

EntryFile::EntryFile(std::filesystem::path path, std::string uri, const Identity& identity,
                     std::unique_ptr<Decoder> decoder)
    : path_(std::move(path)), uri_(std::move(uri)), identity_(identity), decoder_(std::move(decoder)) {}
EntryFile::EntryFile(EntryFile&&) noexcept = default;
EntryFile& EntryFile::operator=(EntryFile&&) noexcept = default;
EntryFile::~EntryFile() = default;

}  // namespace freshet::worker
