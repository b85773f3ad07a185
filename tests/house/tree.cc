// Reads the project's own files for the house rules (load_tree of rules.h).
#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "tests/house/rules.h"

namespace freshet::house {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kBytesMax = 1 << 20;  // larger files are data

bool is_skipped(const fs::path& path) {
  std::string name = path.filename();
  return (name.starts_with('.') && name != ".ci") || name.starts_with("build") || name == "node_modules" ||
         name == "__pycache__" || name == "dist" || name == "results" || fs::exists(path / "CMakeCache.txt");
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("can't read " + path.string());
  return std::string(std::istreambuf_iterator<char>(in), {});
}

bool is_text(const std::string& text) { return text.find('\0') == std::string::npos; }

// Licences and lists of packages by digest are others' words.
bool is_foreign(const fs::path& path) {
  std::string name = path.filename();
  return name == "LICENSE" || name == "package-lock.json";
}

}  // namespace

std::vector<SourceFile> load_tree(const fs::path& root) {
  std::vector<SourceFile> files;
  for (fs::recursive_directory_iterator at(root), end; at != end; ++at) {
    if (at->is_directory()) {
      if (is_skipped(at->path())) at.disable_recursion_pending();
      continue;
    }
    if (!at->is_regular_file() || at->file_size() > kBytesMax || is_foreign(at->path())) continue;
    std::string text = read(at->path());
    if (is_text(text)) files.push_back({fs::relative(at->path(), root).generic_string(), std::move(text)});
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return files;
}

}  // namespace freshet::house
