// Names of things outside: the path that a source's URI means, and which file names in a directory may be entries.
// Pure functions, any thread.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/status.h"

namespace freshet {

// "file:///data/in%20box" or "/data/in box". kInvalidArgument for any other scheme, a host, or a relative path.
Result<std::filesystem::path> path_of_uri(std::string_view uri);

// Whether a file of this name is an entry: it matches the glob (fnmatch; empty: "*"), does not begin with '.' or '_'
// and does not end in ".tmp" or ".part".
bool is_entry_name(const std::string& name, const std::string& glob);

}  // namespace freshet
