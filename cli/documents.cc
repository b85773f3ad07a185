#include "cli/documents.h"

#include <algorithm>
#include <filesystem>
#include <iterator>

namespace freshet::cli {
namespace {

namespace fs = std::filesystem;

Result<std::vector<std::string>> files_in(const std::string& path) {
  std::error_code error;
  if (path == "-" || !fs::is_directory(path, error)) return std::vector<std::string>{path};
  std::vector<std::string> files;
  fs::directory_iterator entries(path, error);
  for (const auto& entry : entries) {
    const std::string ending = entry.path().extension().string();
    if ((ending == ".yaml" || ending == ".yml") && entry.is_regular_file(error)) files.push_back(entry.path().string());
  }
  if (error) return errno_status("read directory " + path, error.value());
  if (files.empty()) return not_found("directory " + path + " holds no *.yaml file");
  std::sort(files.begin(), files.end());
  return files;
}

Result<std::vector<Document>> load(const std::string& file, const YamlVariables& variables, std::istream& input) {
  if (file != "-") return load_document_file(file, variables);
  const std::string text{std::istreambuf_iterator<char>(input), std::istreambuf_iterator<char>()};
  return load_documents(text, "standard input", variables);
}

struct AddTo {
  v1::ApplyRequest* request;
  void operator()(v1::Pipeline& pipeline) const { *request->add_pipelines() = std::move(pipeline); }
  void operator()(v1::Source& source) const { *request->add_sources() = std::move(source); }
  void operator()(v1::Trigger& trigger) const { *request->add_triggers() = std::move(trigger); }
  void operator()(v1::Webhook& webhook) const { *request->add_webhooks() = std::move(webhook); }
  void operator()(v1::RecipeDocument&) const {}
};

v1::Metadata* metadata_of(Document* document) {
  if (auto* pipeline = std::get_if<v1::Pipeline>(&document->message)) return pipeline->mutable_metadata();
  if (auto* source = std::get_if<v1::Source>(&document->message)) return source->mutable_metadata();
  if (auto* trigger = std::get_if<v1::Trigger>(&document->message)) return trigger->mutable_metadata();
  if (auto* webhook = std::get_if<v1::Webhook>(&document->message)) return webhook->mutable_metadata();
  return nullptr;
}

// What is wrong with a document in this place.
Status check_document(const Document& document) {
  if (std::holds_alternative<v1::RecipeDocument>(document.message)) {
    return invalid_argument(document.file + ":" + std::to_string(document.lines.of("kind")) +
                            ": kind: a Recipe is read from its Git repository; commit it there, or write it as "
                            "`recipe:` into the Pipeline");
  }
  return check(document);
}

}  // namespace

Result<YamlVariables> parse_variables(const std::vector<std::string>& pairs) {
  YamlVariables variables;
  for (const auto& pair : pairs) {
    const size_t equals = pair.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return invalid_argument("--var '" + pair + "' is not NAME=VALUE");
    }
    const std::string name = pair.substr(0, equals);
    if (!variables.emplace(name, pair.substr(equals + 1)).second) {
      return invalid_argument("--var " + name + " is given twice");
    }
  }
  return variables;
}

Result<v1::ApplyRequest> load_request(const std::vector<std::string>& paths, const YamlVariables& variables,
                                      const std::string& project, std::istream& standard_input) {
  v1::ApplyRequest request;
  std::string mistakes;
  auto note = [&mistakes](const Status& status) {
    if (!status.is_ok()) mistakes += (mistakes.empty() ? "" : "\n") + status.message();
  };
  for (const auto& path : paths) {
    ASSIGN_OR_RETURN(auto files, files_in(path));
    for (const auto& file : files) {
      auto documents = load(file, variables, standard_input);
      if (!documents.is_ok() && documents.status().code() != Code::kInvalidArgument) return documents.status();
      note(documents.status());
      if (!documents.is_ok()) continue;
      for (auto& document : *documents) {
        note(check_document(document));
        v1::Metadata* metadata = metadata_of(&document);
        if (metadata != nullptr && metadata->project().empty()) metadata->set_project(project);
        std::visit(AddTo{&request}, document.message);
      }
    }
  }
  if (!mistakes.empty()) return invalid_argument(mistakes);
  return request;
}

}  // namespace freshet::cli
