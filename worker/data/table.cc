#include "worker/data/table.h"

#include <algorithm>
#include <set>

namespace freshet::worker {
namespace {

std::string use_name(const ColumnRequest& request) {
  switch (request.use) {
    case ColumnUse::kText:
      return "categories";
    case ColumnUse::kNumber:
      return "numbers";
    case ColumnUse::kTime:
      return "times";
    case ColumnUse::kTextList:
      return "lists of categories";
    case ColumnUse::kNumberList:
      return "lists of " + std::to_string(request.length) + " numbers";
  }
  return "";
}

Result<v1::DatasetVersion> selected_entries(const v1::DatasetVersion& data, const std::vector<std::string>& uris,
                                            bool keep) {
  std::set<std::string> left(uris.begin(), uris.end());
  const std::set<std::string> named = left;
  v1::DatasetVersion selected = data;
  selected.clear_entries();
  selected.clear_digest();
  selected.clear_rows();
  for (const auto& entry : data.entries()) {
    left.erase(entry.uri());
    if (named.contains(entry.uri()) == keep) *selected.add_entries() = entry;
  }
  if (!left.empty()) return invalid_argument("entry '" + *left.begin() + "' is not in the dataset version");
  return selected;
}

}  // namespace

Result<size_t> Table::find(const ColumnRequest& request) const {
  auto found = std::find(requests_.begin(), requests_.end(), request);
  if (found != requests_.end()) return static_cast<size_t>(found - requests_.begin());
  return invalid_argument("column '" + request.name + "' was not read as " + use_name(request));
}

Table::Table(std::vector<ColumnRequest> requests, std::vector<Entry> entries)
    : requests_(std::move(requests)), entries_(std::move(entries)) {
  for (const auto& entry : entries_) rows_ += entry.rows;
}

std::vector<ColumnRequest> merged_requests(std::vector<ColumnRequest> a, const std::vector<ColumnRequest>& b) {
  a.insert(a.end(), b.begin(), b.end());
  std::sort(a.begin(), a.end());
  a.erase(std::unique(a.begin(), a.end()), a.end());
  return a;
}

Result<v1::DatasetVersion> without_entries(const v1::DatasetVersion& data, const std::vector<std::string>& uris) {
  return selected_entries(data, uris, false);
}

Result<v1::DatasetVersion> only_entries(const v1::DatasetVersion& data, const std::vector<std::string>& uris) {
  return selected_entries(data, uris, true);
}

}  // namespace freshet::worker
