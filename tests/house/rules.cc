#include "tests/house/rules.h"

#include <algorithm>
#include <map>
#include <regex>

#include "tests/house/layers.h"
#include "tests/house/source_text.h"

namespace freshet::house {
namespace {

constexpr size_t kLinesMax = 600;

void report(std::vector<Finding>* findings, const SourceFile& file, size_t line, const char* rule,
            std::string message) {
  findings->push_back({file.path, line, rule, std::move(message)});
}

bool ends_with_any(std::string_view path, std::initializer_list<std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(), [path](auto ending) { return path.ends_with(ending); });
}

// "proto/*.pb.h", "base/" or "daemon/store/store.h".
bool matches(std::string_view path, std::string_view pattern) {
  size_t star = pattern.find('*');
  if (star != std::string_view::npos) {
    return path.starts_with(pattern.substr(0, star)) && path.ends_with(pattern.substr(star + 1));
  }
  return pattern.ends_with('/') ? path.starts_with(pattern) : path == pattern;
}

// The row with the longest prefix of the path; nullptr when there is none.
template <class Row>
const Row* row_of(const std::vector<Row>& rows, std::string_view path) {
  const Row* best = nullptr;
  for (const auto& row : rows) {
    if (path.starts_with(row.prefix) && (best == nullptr || row.prefix.size() > best->prefix.size())) best = &row;
  }
  return best;
}

const Layer* layer_of(std::string_view path) { return row_of(layers(), path); }
const Library* library_of(std::string_view path) { return row_of(libraries(), path); }

std::string joined(const std::vector<std::string_view>& parts) {
  std::string text;
  for (auto part : parts) text += (text.empty() ? "" : ", ") + std::string(part);
  return text;
}

std::string without(std::string text, const std::vector<std::string_view>& words) {
  for (auto word : words) {
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word)) text.erase(at, word.size());
  }
  return text;
}

bool is_pure(std::string_view path) {
  return std::any_of(pure_folders().begin(), pure_folders().end(), [path](auto f) { return path.starts_with(f); });
}

bool looks_like_code(const std::string& comment) {
  static const std::regex kStatement(R"((?:return|break|continue|throw|delete|using|co_return)\b[^.]*;)");
  static const std::regex kCall(R"((?:[\w:<>*&,]+ )?[\w:<>*&.\[\]\-]+\(.*\)(?: const)?;)");
  static const std::regex kAssignment(R"((?:const )?(?:[\w:<>*&,]+ )?[\w:.\[\]\->*]+ [-+*/|&^]?= .*;)");
  static const std::regex kControl(
      R"((?:(?:if|for|while|switch) ?\(.*\)|else(?: if ?\(.*\))?|do|try) ?\{?|.*\) (?:const )?\{)");
  static const std::regex kPreprocessor(R"(#\s*(?:include|define|if|ifdef|ifndef|endif|else|pragma)\b.*)");
  static const std::regex kBrace(R"([{}]|\};|\} else.*\{)");
  if (comment.ends_with(';')) {
    return std::regex_match(comment, kStatement) || std::regex_match(comment, kCall) ||
           std::regex_match(comment, kAssignment) || std::regex_match(comment, kBrace);
  }
  if (comment.ends_with('{') || comment.ends_with('}')) {
    return std::regex_match(comment, kControl) || std::regex_match(comment, kBrace);
  }
  return comment.starts_with('#') && std::regex_match(comment, kPreprocessor);
}

}  // namespace

bool is_header(std::string_view path) { return ends_with_any(path, {".h", ".cuh"}); }
bool is_cpp(std::string_view path) { return is_header(path) || ends_with_any(path, {".cc", ".cu"}); }

std::string to_string(const Finding& finding) {
  std::string place = finding.path + (finding.line > 0 ? ":" + std::to_string(finding.line) : "");
  return place + ": [" + finding.rule + "] " + finding.message;
}

void check_includes(const SourceFile& file, std::vector<Finding>* findings) {
  if (!is_cpp(file.path)) return;
  const Layer* layer = layer_of(file.path);
  if (layer == nullptr) {
    return report(findings, file, 0, "include",
                  "this folder has no row in the table of layers (tests/house/layers.cc)");
  }
  for (const auto& include : read_cpp(file.text).includes) {
    if (include.quoted) {
      bool allowed = std::any_of(layer->may.begin(), layer->may.end(),
                                 [&](auto pattern) { return matches(include.path, pattern); });
      if (allowed) continue;
      report(findings, file, include.line, "include",
             "\"" + include.path + "\" may not be included here: " + std::string(layer->why) +
                 " (allowed: " + joined(layer->may) + ")");
      continue;
    }
    if (const Library* library = library_of(include.path)) {
      bool allowed = std::any_of(library->layers.begin(), library->layers.end(),
                                 [&](auto prefix) { return file.path.starts_with(prefix); });
      if (!allowed) {
        report(findings, file, include.line, "include",
               "<" + include.path + "> may be included only in " + joined(library->layers));
      }
    }
    if (layer_of(include.path) != nullptr && !include.path.starts_with("net/")) {
      report(findings, file, include.line, "include", "<" + include.path + "> is ours; include it with quotes");
    }
  }
}

void check_pure(const SourceFile& file, std::vector<Finding>* findings) {
  if (!is_cpp(file.path) || !is_pure(file.path)) return;
  SourceText source = read_cpp(file.text);
  for (const auto& include : source.includes) {
    for (const auto& header : impure_headers()) {
      if (matches(include.path, header.word)) {
        report(findings, file, include.line, "pure", "\"" + include.path + "\" brings " + std::string(header.why));
      }
    }
  }
  for (size_t i = 0; i < source.code.size(); ++i) {
    if (trimmed(source.code[i]).starts_with('#')) continue;
    std::string code = without(source.code[i], pure_words());
    for (const auto& word : impure_words()) {
      if (contains_word(code, word.word)) {
        report(findings, file, i + 1, "pure", std::string(word.word) + " is " + std::string(word.why));
      }
    }
  }
}

void check_header(const SourceFile& file, std::vector<Finding>* findings) {
  if (!is_header(file.path)) return;
  SourceText source = read_cpp(file.text);
  auto once =
      std::find_if(source.code.begin(), source.code.end(), [](const auto& line) { return !trimmed(line).empty(); });
  if (once == source.code.end() || trimmed(*once) != "#pragma once") {
    report(findings, file, 0, "header", "the first line of code must be #pragma once");
  }
  if (source.lines.empty() || !source.lines[0].starts_with("//")) {
    report(findings, file, 1, "header",
           "a header opens with a comment: what it is, who owns it, which threads may call it");
  }
  for (size_t i = 0; i < source.code.size(); ++i) {
    if (contains_word(source.code[i], "using namespace")) {
      report(findings, file, i + 1, "header", "a header must not open a namespace for all who include it");
    }
  }
}

// A file that includes its own header first proves that the header compiles alone, at no cost. The other headers are
// compiled one by one (target freshet_headers_alone).
void check_own_header(const SourceFile& file, const std::vector<SourceFile>& files, std::vector<Finding>* findings) {
  if (!file.path.ends_with(".cc")) return;
  std::string header = file.path.substr(0, file.path.size() - 2) + "h";
  bool there = std::any_of(files.begin(), files.end(), [&](const auto& other) { return other.path == header; });
  if (!there) return;
  auto includes = read_cpp(file.text).includes;
  if (!includes.empty() && includes.front().path == header) return;
  report(findings, file, includes.empty() ? 0 : includes.front().line, "own-header",
         "the first include must be \"" + header + "\"");
}

void check_size(const SourceFile& file, std::vector<Finding>* findings) {
  bool counted = is_cpp(file.path) || ends_with_any(file.path, {".py", ".sh", ".cmake", "CMakeLists.txt", ".proto"}) ||
                 file.text.starts_with("#!");
  size_t lines = split_lines(file.text).size();
  if (counted && lines > kLinesMax) {
    report(findings, file, 0, "size",
           "has " + std::to_string(lines) + " lines; at most " + std::to_string(kLinesMax) + " are allowed");
  }
}

void check_leftovers(const SourceFile& file, std::vector<Finding>* findings) {
  // In two parts, so that this file does not hold what it looks for.
  static const std::vector<std::string> kMarks = {
      "TO"
      "DO",
      "FIX"
      "ME",
      "XX"
      "X",
      "HA"
      "CK"};
  auto lines = split_lines(file.text);
  for (size_t i = 0; i < lines.size(); ++i) {
    for (const auto& mark : kMarks) {
      if (contains_word(lines[i], mark)) {
        report(findings, file, i + 1, "leftover", mark + ": do it, or open an issue");
      }
    }
    if (lines[i].starts_with("<<<<<<< ") || lines[i].starts_with(">>>>>>> ")) {
      report(findings, file, i + 1, "leftover", "a merge conflict");
    }
  }
  if (!is_cpp(file.path) && !file.path.ends_with(".proto")) return;
  SourceText source = read_cpp(file.text);
  for (const auto& comment : source.comments) {
    if (looks_like_code(comment.text)) {
      report(findings, file, comment.line, "leftover", "commented-out code: " + comment.text);
    }
  }
  for (size_t i = 0; i < source.code.size(); ++i) {
    auto code = trimmed(source.code[i]);
    if (code == "#if 0" || code == "#if false")
      report(findings, file, i + 1, "leftover", "code that is never compiled");
  }
}

void check_private(const SourceFile& file, const std::string& root, std::vector<Finding>* findings) {
  // Packages come from the clients' own configuration, so that mirrors work.
  static const std::vector<std::string> kHosts = {
      "pypi"
      ".org",
      "pythonhosted"
      ".org",
      "registry.npmjs"
      ".org",
      "registry.yarnpkg"
      ".com",
      "deb.debian"
      ".org",
      "crates"
      ".io",
      "proxy.golang"
      ".org"};
  auto lines = split_lines(file.text);
  for (size_t i = 0; i < lines.size(); ++i) {
    for (const auto& host : kHosts) {
      if (contains_word(lines[i], host)) {
        report(findings, file, i + 1, "private", host + ": a registry's address belongs to its client's configuration");
      }
    }
    if (root.size() > 1 && contains_word(lines[i], root)) {
      report(findings, file, i + 1, "private", "names the directory of this checkout");
    }
    for (std::string_view home : {"/ho"
                                  "me/",
                                  "/Us"
                                  "ers/"}) {
      if (lines[i].find(home) != std::string::npos) {
        report(findings, file, i + 1, "private", std::string(home) + ": a path that exists on one machine only");
      }
    }
  }
}

// The names are read from the sources by scripts/chaos: what it cannot read would never be exercised.
void check_crash_points(const std::vector<SourceFile>& files, std::vector<Finding>* findings) {
  static const std::regex kName(R"re(CRASH_POINT\("([a-z][a-z0-9_]*\.[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*)"\))re");
  std::map<std::string, std::string> places;
  for (const auto& file : files) {
    if (!is_cpp(file.path) || file.path.starts_with("tests/") || file.path == "base/crash_point.h") continue;
    const SourceText source = read_cpp(file.text);
    for (size_t i = 0; i < source.code.size(); ++i) {
      if (!contains_word(source.code[i], "CRASH_POINT")) continue;
      std::smatch match;
      if (!std::regex_search(source.lines[i], match, kName)) {
        report(findings, file, i + 1, "crash-point", "its name is a literal on the same line: \"area.thing.moment\"");
        continue;
      }
      const std::string place = file.path + ":" + std::to_string(i + 1);
      auto [first, is_new] = places.emplace(match[1], place);
      if (!is_new)
        report(findings, file, i + 1, "crash-point", match[1].str() + " is also the name of " + first->second);
    }
  }
}

std::vector<Finding> check(const std::vector<SourceFile>& files, const std::string& root) {
  std::vector<Finding> findings;
  for (const auto& file : files) {
    check_includes(file, &findings);
    check_pure(file, &findings);
    check_header(file, &findings);
    check_own_header(file, files, &findings);
    check_size(file, &findings);
    check_leftovers(file, &findings);
    check_private(file, root, &findings);
  }
  check_crash_points(files, &findings);
  return findings;
}

}  // namespace freshet::house
