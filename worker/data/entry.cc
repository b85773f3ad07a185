#include "worker/data/entry.h"

#include <algorithm>

namespace freshet::worker {
namespace {

constexpr std::string_view kScheme = "file://";

}  // namespace

Result<std::filesystem::path> source_directory(const std::string& source_uri) {
  std::string_view text = source_uri;
  if (!text.starts_with(kScheme)) return invalid_argument("the source '" + source_uri + "' is not a file:// URI");
  text.remove_prefix(kScheme.size());
  if (!text.starts_with('/')) return invalid_argument("the source '" + source_uri + "' names no absolute path");
  return std::filesystem::path(text);
}

Result<std::filesystem::path> entry_path(const std::filesystem::path& directory, const v1::DatasetEntry& entry) {
  const std::filesystem::path path(entry.uri());
  if (entry.uri().empty() || path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end()) {
    return invalid_argument("entry '" + entry.uri() + "' is not a path below its source");
  }
  return directory / path;
}

Status verify_entry(const v1::DatasetEntry& entry, const std::string& sha256) {
  if (entry.sha256().empty() || sha256 == entry.sha256()) return Status::ok();
  return conflict("the file has changed since it was registered: its SHA-256 was " + entry.sha256() + " and is " +
                  sha256)
      .with_context(entry.uri());
}

Status entry_unreadable(const v1::DatasetEntry& entry, const Status& error) {
  if (error.code() != Code::kNotFound) return error.with_context(entry.uri());
  return not_found("the file is no longer there").with_context(entry.uri());
}

}  // namespace freshet::worker
