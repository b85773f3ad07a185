// The house rules as functions over (path, text), so that a test can plant a violation and see it refused. The tables
// of who may include whom and of forbidden words are in layers.cc. Pure but for load_tree; any thread.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace freshet::house {

struct SourceFile {
  std::string path;  // relative to the repository's root, with '/'
  std::string text;
};

struct Finding {
  std::string path;
  size_t line = 0;   // from 1; 0: the whole file
  std::string rule;  // "include", "size", "pure", "own-header", "header", "leftover", "private", "crash-point"
  std::string message;
};

// "path:12: [rule] message"
std::string to_string(const Finding& finding);

// All rules over all files. `root` is the checkout's absolute path: no file may name it.
std::vector<Finding> check(const std::vector<SourceFile>& files, const std::string& root);

// The project's own text files below the root; what Git ignores, tools leave behind or builds make is not read.
std::vector<SourceFile> load_tree(const std::filesystem::path& root);

// The rules one by one.
void check_includes(const SourceFile& file, std::vector<Finding>* findings);
void check_pure(const SourceFile& file, std::vector<Finding>* findings);
void check_header(const SourceFile& file, std::vector<Finding>* findings);
void check_own_header(const SourceFile& file, const std::vector<SourceFile>& files, std::vector<Finding>* findings);
void check_size(const SourceFile& file, std::vector<Finding>* findings);
void check_leftovers(const SourceFile& file, std::vector<Finding>* findings);
void check_private(const SourceFile& file, const std::string& root, std::vector<Finding>* findings);
void check_crash_points(const std::vector<SourceFile>& files, std::vector<Finding>* findings);

bool is_cpp(std::string_view path);
bool is_header(std::string_view path);

}  // namespace freshet::house
