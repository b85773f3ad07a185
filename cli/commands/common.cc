#include <CLI/CLI.hpp>
#include <charconv>

#include "cli/commands/commands.h"

namespace freshet::cli {

std::string examples(const std::vector<std::string>& lines) {
  std::string text = "Examples:";
  for (const auto& line : lines) text += "\n  " + line;
  return text;
}

void add_limit(CLI::App* command, const std::shared_ptr<ListOptions>& options, size_t standard) {
  options->limit = standard;
  command->add_option("--limit", options->limit, "at most so many; 0: all (default " + std::to_string(standard) + ")")
      ->type_name("N");
}

Result<uint64_t> parse_version(const std::string& text) {
  uint64_t version = 0;
  auto parsed = std::from_chars(text.data(), text.data() + text.size(), version);
  if (parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && version > 0) return version;
  return invalid_argument("'" + text + "' is not a version; versions are whole numbers from 1");
}

Result<ModelName> parse_model_name(const std::string& text) {
  ModelName name;
  const size_t end = text.find_first_of("/@");
  name.model = text.substr(0, end);
  if (name.model.empty())
    return invalid_argument("'" + text + "' names no model; use NAME, NAME/VERSION or NAME@ALIAS");
  if (end == std::string::npos) return name;
  const std::string rest = text.substr(end + 1);
  if (text[end] == '@') {
    name.alias = rest;
    if (rest.empty()) return invalid_argument("'" + text + "' names no alias behind the @");
    return name;
  }
  ASSIGN_OR_RETURN(name.version, parse_version(rest));
  return name;
}

}  // namespace freshet::cli
