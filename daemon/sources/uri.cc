#include "daemon/sources/uri.h"

#include <fnmatch.h>

namespace freshet {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Result<std::filesystem::path> path_of_uri(std::string_view uri) {
  constexpr std::string_view kScheme = "file://";
  std::string path;
  if (!uri.starts_with(kScheme)) {
    path = uri;
  } else {
    std::string_view encoded = uri.substr(kScheme.size());
    for (size_t i = 0; i < encoded.size(); ++i) {
      if (encoded[i] != '%') {
        path += encoded[i];
        continue;
      }
      int high = i + 2 < encoded.size() ? hex_value(encoded[i + 1]) : -1;
      int low = i + 2 < encoded.size() ? hex_value(encoded[i + 2]) : -1;
      if (high < 0 || low < 0) return invalid_argument(std::string(uri) + ": '%' must be followed by two hex digits");
      path += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  if (!path.starts_with('/') || path.find('\0') != std::string::npos) {
    return invalid_argument("'" + std::string(uri) + "' is not file:///absolute/path");
  }
  return std::filesystem::path(path);
}

bool is_entry_name(const std::string& name, const std::string& glob) {
  if (name.starts_with('.') || name.starts_with('_') || name.ends_with(".tmp") || name.ends_with(".part")) return false;
  return ::fnmatch(glob.empty() ? "*" : glob.c_str(), name.c_str(), FNM_PERIOD) == 0;
}

}  // namespace freshet
