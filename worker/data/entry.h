// An entry of a dataset as a file: where it lies, and whether it is what was registered. Pure but for messages; any
// thread.
#pragma once

#include <filesystem>
#include <string>

#include "base/status.h"
#include "proto/dataset.pb.h"

namespace freshet::worker {

// The directory that a source's URI names: "file:///absolute/path".
Result<std::filesystem::path> source_directory(const std::string& source_uri);

// invalid_argument when the entry's URI leads out of `directory`.
Result<std::filesystem::path> entry_path(const std::filesystem::path& directory, const v1::DatasetEntry& entry);

// conflict when `sha256` is not the registered one; an entry without one is not looked at.
Status verify_entry(const v1::DatasetEntry& entry, const std::string& sha256);

// `error`, which came from reading the file, told of the entry.
Status entry_unreadable(const v1::DatasetEntry& entry, const Status& error);

}  // namespace freshet::worker
