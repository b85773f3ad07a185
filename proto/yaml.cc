#include "proto/yaml.h"

#include <algorithm>
#include <set>

#include "base/file.h"
#include "proto/defaults.h"
#include "proto/validate.h"
#include "proto/yaml_convert.h"
#include "proto/yaml_tree.h"

namespace freshet {
namespace {

using Kind = YamlNode::Kind;

constexpr char kApiVersion[] = "freshet/v1";
constexpr char kOperatorOnly[] =
    " is set only by what an operator applied (freshet apply); a revision may change spec.steps alone";

const std::vector<std::string>& kinds() {
  static const std::vector<std::string> kKinds = {"Pipeline", "Source", "Trigger", "Webhook", "Recipe"};
  return kKinds;
}

const YamlNode* find_member(const YamlNode& node, std::string_view key) {
  for (const auto& [name, value] : node.members) {
    if (name.text == key) return &value;
  }
  return nullptr;
}

// Checks the two keys that every document begins with, and returns its kind; empty after a mistake.
std::string kind_of(const YamlNode& root, YamlConverter* converter) {
  if (root.kind != Kind::kMap) {
    converter->add_mistake(root.line, "", "expected a mapping with api_version and kind, got " + describe(root));
    return "";
  }
  const YamlNode* version = find_member(root, "api_version");
  if (version == nullptr) {
    converter->add_mistake(root.line, "api_version", std::string("is missing; write api_version: ") + kApiVersion);
  } else if (version->kind != Kind::kScalar || version->text != kApiVersion) {
    converter->add_mistake(version->line, "api_version", describe(*version) + " is not known; use " + kApiVersion);
  }
  const YamlNode* kind = find_member(root, "kind");
  if (kind == nullptr) {
    converter->add_mistake(root.line, "kind", "is missing; use one of Pipeline, Source, Trigger, Webhook, Recipe");
    return "";
  }
  if (kind->kind == Kind::kScalar && std::find(kinds().begin(), kinds().end(), kind->text) != kinds().end()) {
    return kind->text;
  }
  std::string near = kind->kind == Kind::kScalar ? nearest_word(kind->text, kinds()) : "";
  converter->add_mistake(
      kind->line, "kind",
      describe(*kind) + " is not known; " +
          (near.empty() ? "use one of Pipeline, Source, Trigger, Webhook, Recipe" : "did you mean '" + near + "'?"));
  return "";
}

template <class Message>
Message converted(const YamlNode& root, YamlConverter* converter) {
  Message message;
  converter->convert(root, "", &message);
  return message;
}

Result<Document> to_document(const YamlNode& root, const std::string& file, YamlConverter* converter) {
  Document document;
  document.file = file;
  const std::string kind = kind_of(root, converter);
  if (kind == "Pipeline") document.message = converted<v1::Pipeline>(root, converter);
  if (kind == "Source") document.message = converted<v1::Source>(root, converter);
  if (kind == "Trigger") document.message = converted<v1::Trigger>(root, converter);
  if (kind == "Webhook") document.message = converted<v1::Webhook>(root, converter);
  if (kind == "Recipe") document.message = converted<v1::RecipeDocument>(root, converter);
  RETURN_IF_ERROR(converter->status());
  document.lines = converter->take_lines();
  document.lines.add("", root.line);
  return document;
}

// Every key by which an operator says something that a revision may not.
const std::set<std::string>& operator_keys() {
  static const std::set<std::string> kKeys = [] {
    std::set<std::string> keys = {"sources", "triggers", "validation", "queue", "metadata"};
    for (const auto* type : {v1::PipelineSpec::descriptor(), v1::StepResources::descriptor()}) {
      for (int i = 0; i < type->field_count(); ++i) keys.insert(type->field(i)->name());
    }
    return keys;
  }();
  return kKeys;
}

std::optional<std::string> refuse_operator_key(const std::string& key) {
  if (!operator_keys().contains(key)) return std::nullopt;
  return "'" + key + "'" + kOperatorOnly;
}

std::vector<Mistake> mistakes_with_defaults(const v1::Pipeline& pipeline) {
  v1::Pipeline whole = pipeline;
  apply_defaults(&whole);
  return mistakes_of(whole);
}
std::vector<Mistake> mistakes_with_defaults(const v1::Source& source) {
  v1::Source whole = source;
  apply_defaults(&whole);
  return mistakes_of(whole);
}
std::vector<Mistake> mistakes_with_defaults(const v1::Trigger& trigger) {
  v1::Trigger whole = trigger;
  apply_defaults(&whole);
  return mistakes_of(whole);
}
std::vector<Mistake> mistakes_with_defaults(const v1::Webhook& webhook) {
  v1::Webhook whole = webhook;
  apply_defaults(&whole);
  return mistakes_of(whole);
}
std::vector<Mistake> mistakes_with_defaults(const v1::RecipeDocument& document) {
  v1::Recipe whole = document.spec();
  apply_defaults(&whole);
  return mistakes_of(whole);
}

}  // namespace

int YamlLines::of(std::string_view path) const {
  while (true) {
    if (auto found = lines_.find(path); found != lines_.end()) return found->second;
    size_t end = path.find_last_of(".[");
    if (path.empty()) return 1;
    path = path.substr(0, end == std::string_view::npos ? 0 : end);
  }
}

Result<std::vector<Document>> load_documents(std::string_view text, const std::string& file,
                                             const YamlVariables& variables) {
  ASSIGN_OR_RETURN(auto roots, parse_yaml(text, file));
  if (roots.empty()) return invalid_argument(file + ":1: holds no document");
  std::vector<Document> documents;
  std::string mistakes;
  for (const auto& root : roots) {
    YamlConverter converter(file, &variables);
    auto document = to_document(root, file, &converter);
    if (document.is_ok()) {
      documents.push_back(std::move(document).value());
    } else {
      mistakes += (mistakes.empty() ? "" : "\n") + document.status().message();
    }
  }
  if (!mistakes.empty()) return invalid_argument(mistakes);
  return documents;
}

Result<std::vector<Document>> load_document_file(const std::filesystem::path& path, const YamlVariables& variables) {
  ASSIGN_OR_RETURN(std::string text, read_file(path));
  return load_documents(text, path.string(), variables);
}

Status check(const Document& document) {
  YamlConverter list(document.file, nullptr);
  for (const auto& mistake :
       std::visit([](const auto& message) { return mistakes_with_defaults(message); }, document.message)) {
    list.add_mistake(document.lines.of(mistake.path), mistake.path, mistake.message);
  }
  return list.status();
}

Result<v1::Recipe> load_recipe(std::string_view text, const std::string& file) {
  ASSIGN_OR_RETURN(auto roots, parse_yaml(text, file));
  if (roots.empty()) return invalid_argument(file + ":1: holds no recipe");
  for (const auto& root : roots) {
    const YamlNode* kind = find_member(root, "kind");
    if (kind == nullptr || kind->text == "Recipe") continue;
    if (std::find(kinds().begin(), kinds().end(), kind->text) == kinds().end()) continue;
    return invalid_argument(file + ":" + std::to_string(kind->line) + ": a " + kind->text + kOperatorOnly);
  }
  if (roots.size() > 1) {
    return invalid_argument(file + ":" + std::to_string(roots[1].line) + ": a second document; a recipe is one");
  }
  YamlConverter converter(file, nullptr, refuse_operator_key);
  ASSIGN_OR_RETURN(Document document, to_document(roots[0], file, &converter));
  RETURN_IF_ERROR(check(document));
  return std::get<v1::RecipeDocument>(document.message).spec();
}

Result<v1::DaemonConfig> load_config(std::string_view text, const std::string& file) {
  ASSIGN_OR_RETURN(auto roots, parse_yaml(text, file));
  if (roots.empty()) return v1::DaemonConfig();
  if (roots.size() > 1) {
    return invalid_argument(file + ":" + std::to_string(roots[1].line) + ": a second document; a configuration is one");
  }
  YamlConverter converter(file, nullptr);
  auto config = converted<v1::DaemonConfig>(roots[0], &converter);
  RETURN_IF_ERROR(converter.status());
  return config;
}

}  // namespace freshet
