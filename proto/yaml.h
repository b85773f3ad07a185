// The YAML that people write, as messages of the schema: converted node by node, so that every mistake is named as
// "file:line: key: what to change". A message of this file may hold several mistakes, one a line. Any thread.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "proto/config.pb.h"
#include "proto/pipeline.pb.h"
#include "proto/recipe.pb.h"
#include "proto/webhook.pb.h"

namespace freshet {

// NAME -> value of `${NAME}` inside scalar values; `$${` is a literal "${".
using YamlVariables = std::map<std::string, std::string>;

// Where each key of a document stands.
class YamlLines {
 public:
  void add(std::string path, int line) { lines_[std::move(path)] = line; }
  // The line of "spec.gates[0].metric", or of the nearest key around it that the document has.
  int of(std::string_view path) const;

 private:
  std::map<std::string, int, std::less<>> lines_;
};

struct Document {
  std::string file;
  std::variant<v1::Pipeline, v1::Source, v1::Trigger, v1::Webhook, v1::RecipeDocument> message;
  YamlLines lines;
};

// Every document of the text; `file` is its name in messages. Kinds are Pipeline, Source, Trigger, Webhook and
// Recipe with api_version freshet/v1. Unknown and duplicate keys, wrong types, unknown variables and all else that does
// not fit are invalid_argument. Defaults are not filled in; see check().
Result<std::vector<Document>> load_documents(std::string_view text, const std::string& file,
                                             const YamlVariables& variables = {});
Result<std::vector<Document>> load_document_file(const std::filesystem::path& path,
                                                 const YamlVariables& variables = {});

// What validate() finds in the document with its defaults, each mistake with its file and line.
Status check(const Document& document);

// The recipe in a file of a Git revision: one document of kind Recipe, checked. Whatever only an operator may set is
// refused by name. Defaults are not filled in; variables are not replaced.
Result<v1::Recipe> load_recipe(std::string_view text, const std::string& file);

// freshetd's configuration: a mapping of DaemonConfig's fields. An empty file is an empty configuration.
Result<v1::DaemonConfig> load_config(std::string_view text, const std::string& file);

}  // namespace freshet
