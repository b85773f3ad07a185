#include "worker/data/table_stream.h"

#include "worker/data/entry.h"
#include "worker/data/parallel.h"

namespace freshet::worker {

Result<TableStream> TableStream::open(const v1::DatasetVersion& data, ColumnSet columns, unsigned threads) {
  TableStream stream;
  ASSIGN_OR_RETURN(stream.directory_, source_directory(data.source_uri()));
  stream.data_ = data;
  stream.columns_ = std::move(columns);
  const auto entries = static_cast<size_t>(data.entries_size());
  stream.identities_.resize(entries);
  std::vector<size_t> parts(entries);
  auto look_at = [&](size_t entry) -> Status {
    ASSIGN_OR_RETURN(const auto file,
                     EntryFile::open(stream.directory_, data.entries(static_cast<int>(entry)), stream.columns_.header));
    RETURN_IF_ERROR(file.check_columns(stream.columns_.requests));
    stream.identities_[entry] = file.identity();
    parts[entry] = file.parts();
    return Status::ok();
  };
  RETURN_IF_ERROR(for_each_index(entries, threads, look_at));
  for (size_t entry = 0; entry < entries; ++entry) {
    for (size_t part = 0; part < parts[entry]; ++part) stream.parts_.push_back({entry, part});
  }
  return stream;
}

Status TableStream::for_each(unsigned threads,
                             const std::function<Status(size_t part, const Table& batch)>& visit) const {
  return for_each_index(parts_.size(), threads, [&](size_t index) -> Status {
    const Part& part = parts_[index];
    const auto& entry = data_.entries(static_cast<int>(part.entry));
    ASSIGN_OR_RETURN(const auto file, EntryFile::reopen(directory_, entry, columns_.header, identities_[part.entry]));
    ASSIGN_OR_RETURN(auto rows, file.read(part.part, columns_.requests));
    while (true) {
      ASSIGN_OR_RETURN(const bool has_more, rows.next());
      if (!has_more) return Status::ok();
      Table::Entry batch{entry.uri(), static_cast<size_t>(rows.rows()), {}};
      for (size_t i = 0; i < columns_.requests.size(); ++i) {
        ASSIGN_OR_RETURN(batch.columns.emplace_back(), rows.column(i));
      }
      std::vector<Table::Entry> entries;
      entries.push_back(std::move(batch));
      RETURN_IF_ERROR(visit(index, Table(columns_.requests, std::move(entries))));
    }
  });
}

}  // namespace freshet::worker
