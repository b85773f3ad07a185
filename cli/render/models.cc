#include "cli/render/models.h"

#include <algorithm>

#include "cli/render/format.h"
#include "cli/render/runs.h"

namespace freshet::cli {
namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string version_name(const v1::ModelVersion& version) {
  return version.model() + "/" + std::to_string(version.version());
}

std::string data_text(const v1::ModelVersion& version) {
  std::string text;
  for (const auto& input : version.inputs()) text += (text.empty() ? "" : ", ") + short_id(input.dataset_digest());
  return text;
}

// The first and the last of the names, as they sort.
std::string span_of(std::vector<std::string> names) {
  if (names.empty()) return "";
  std::sort(names.begin(), names.end());
  return names.size() == 1 ? names[0] : names.front() + " ... " + names.back();
}

std::string dataset_text(const v1::RunInput& input, const v1::DatasetVersion* dataset) {
  std::string text = input.name() + ": " + input.dataset_digest();
  if (dataset == nullptr) return text;
  const std::vector<std::string> holdout(input.holdout().begin(), input.holdout().end());
  std::vector<std::string> trained;
  for (const auto& entry : dataset->entries()) {
    if (std::find(holdout.begin(), holdout.end(), entry.uri()) == holdout.end()) trained.push_back(entry.uri());
  }
  text += ", " + counted(dataset->rows()) + " rows of " + input.source();
  text += "; trained on " + std::to_string(trained.size()) + " entries (" + span_of(trained) + ")";
  text += ", judged on " + std::to_string(holdout.size()) + " (" + span_of(holdout) + ")";
  return text;
}

std::string run_text(const LineageLink& link, const RenderOptions& options) {
  std::string text = link.version.run_id();
  if (!link.run) return text;
  text += " " + state_name(link.run->state());
  if (!link.run->cause().empty()) text += ", " + link.run->cause();
  return text + ", " + moment(link.run->created_us(), options.now);
}

std::string code_text(const v1::CodeRevision& code) {
  return code.commit().empty() ? "recipe of the pipeline's own"
                               : "commit " + code.commit() + ", " + code.path() + " in " + code.source();
}

// The facts of one version, as "name  value" lines of its branch.
std::vector<std::pair<std::string, Cell>> facts_of(const LineageLink& link, const RenderOptions& options) {
  const v1::ModelVersion& version = link.version;
  std::vector<std::pair<std::string, Cell>> facts;
  facts.emplace_back("run", run_text(link, options));
  facts.emplace_back("pipeline", version.pipeline() + " version " + std::to_string(version.pipeline_version()) +
                                     " (spec " + short_id(version.spec_digest()) + ")");
  facts.emplace_back("code", code_text(version.code()));
  facts.emplace_back("recipe", version.recipe_digest());
  for (int i = 0; i < version.inputs_size(); ++i) {
    const auto at = static_cast<size_t>(i);
    facts.emplace_back("data",
                       dataset_text(version.inputs(i), at < link.datasets.size() ? &link.datasets[at] : nullptr));
  }
  facts.emplace_back("seed", std::to_string(version.seed()));
  facts.emplace_back("weights", version.weights_digest());
  facts.emplace_back("from", version.initial_weights_digest());
  facts.emplace_back("numerics", numerics_text(version.numerics()));
  facts.emplace_back("metrics", metrics_text(version.metrics()));
  facts.emplace_back("verdict", verdict_cell(version.verdict()));
  facts.erase(std::remove_if(facts.begin(), facts.end(), [](const auto& fact) { return fact.second.text.empty(); }),
              facts.end());
  return facts;
}

}  // namespace

std::string numerics_text(const v1::NumericsFingerprint& numerics) {
  std::vector<std::string> parts;
  if (!numerics.engine_build().empty()) parts.push_back("engine " + short_id(numerics.engine_build()));
  if (!numerics.instruction_set().empty()) parts.push_back(numerics.instruction_set());
  if (!numerics.device().empty()) parts.push_back(numerics.device());
  parts.insert(parts.end(), numerics.libraries().begin(), numerics.libraries().end());
  if (!numerics.products().empty()) parts.push_back("products " + short_id(numerics.products()));
  return joined(parts);
}

std::vector<std::string> aliases_of(const google::protobuf::RepeatedPtrField<v1::Alias>& aliases, uint64_t version) {
  std::vector<std::string> names;
  for (const auto& alias : aliases) {
    if (alias.version() == version) names.push_back(alias.alias());
  }
  return names;
}

std::string render_models(const v1::ListModelsResponse& models, const RenderOptions& options) {
  if (models.models().empty()) return "no models\n";
  Table table({"MODEL", "VERSIONS", "ALIASES", "AGE", "DESCRIPTION"});
  for (const auto& view : models.models()) {
    std::vector<std::string> aliases;
    for (const auto& alias : view.aliases())
      aliases.push_back(alias.alias() + " -> " + std::to_string(alias.version()));
    table.add({view.model().name(), std::to_string(view.model().latest_version()), joined(aliases),
               age(view.model().created_us(), options.now), view.model().description()});
  }
  return table.render(options);
}

std::string render_versions(const v1::ListModelVersionsResponse& versions, const RenderOptions& options) {
  if (versions.versions().empty()) return "no versions\n";
  Table table({"VERSION", "ALIAS", "RUN", "DATA", "CODE", "METRICS", "VERDICT", "AGE"});
  for (const auto& version : versions.versions()) {
    table.add({std::to_string(version.version()),
               {joined(aliases_of(versions.aliases(), version.version())), Style::kGood},
               short_id(version.run_id()),
               data_text(version),
               short_id(version.code().commit()),
               metrics_text(version.metrics()),
               verdict_cell(version.verdict()),
               age(version.created_us(), options.now)});
  }
  return table.render(options);
}

std::string render_version(const v1::ModelVersion& version, const std::vector<std::string>& aliases,
                           const RenderOptions& options) {
  Details details;
  details.add("Version", version_name(version));
  details.add("Alias", {joined(aliases), Style::kGood});
  details.add("Run", version.run_id());
  details.add("Pipeline", version.pipeline() + " (version " + std::to_string(version.pipeline_version()) + ")");
  details.add("Code", code_text(version.code()));
  for (const auto& input : version.inputs()) details.add("Data", input.name() + ": " + input.dataset_digest());
  details.add("Seed", std::to_string(version.seed()));
  details.add("Warm start", version.warm_start_version());
  details.add("Artifact", version.artifact_digest());
  details.add("Weights", version.weights_digest());
  details.add("Initial weights", version.initial_weights_digest());
  details.add("Spec", version.spec_digest());
  details.add("Recipe", version.recipe_digest());
  details.add("Numerics", numerics_text(version.numerics()));
  details.add("Metrics", metrics_text(version.metrics()));
  details.add("Created", moment(version.created_us(), options.now));
  if (version.artifact_collected_us() != 0) {
    details.add("Collected",
                {moment(version.artifact_collected_us(), options.now) + ": " + version.artifact_collected_reason(),
                 Style::kBad});
  }
  return details.render(options) + render_verdict(version.verdict(), options);
}

std::string render_alias_at(const v1::AliasAtResponse& answer, const RenderOptions& options) {
  const v1::Alias& alias = answer.move().alias();
  Details details;
  details.add("At", to_iso8601(Time{answer.at_us()}) + " (UTC)");
  details.add(alias.alias(), {version_name(answer.version()), Style::kGood});
  details.add("Moved", moment(answer.move().committed_us(), options.now) + " by " + alias.actor());
  details.add("Reason", alias.reason());
  details.add("Replaced", alias.previous_version() == 0
                              ? "nothing"
                              : alias.model() + "/" + std::to_string(alias.previous_version()));
  if (answer.has_next()) {
    const v1::Alias& next = answer.next().alias();
    details.add("Until", moment(answer.next().committed_us(), options.now) + ", then " + next.model() + "/" +
                             std::to_string(next.version()) + " by " + next.actor() + ": " + next.reason());
  } else {
    details.add("Until", "it points there still");
  }
  return details.render(options) + "\n" + render_version(answer.version(), {}, options);
}

std::string render_moves(const v1::ListAliasMovesResponse& moves, const RenderOptions& options) {
  if (moves.moves().empty()) return "no moves\n";
  Table table({"TIME", "ALIAS", "FROM", "TO", "BY", "REASON"});
  for (const auto& move : moves.moves()) {
    const v1::Alias& alias = move.alias();
    table.add({to_iso8601(Time{move.committed_us()}), alias.alias(),
               alias.previous_version() == 0 ? "-" : std::to_string(alias.previous_version()),
               std::to_string(alias.version()), alias.actor(), alias.reason()});
  }
  return table.render(options);
}

std::string render_gc(const v1::GcResponse& answer, bool is_plan, const RenderOptions& options) {
  Table table({"ARTIFACT", "TYPE", "SIZE", "VERSIONS", is_plan ? "GOES" : "WENT", "REASON"});
  for (const auto& item : answer.items()) {
    table.add({short_id(item.digest()), item.type(), bytes_text(item.bytes()),
               joined({item.versions().begin(), item.versions().end()}),
               item.goes() ? Cell("yes", Style::kBad) : Cell("no", Style::kGood), item.reason()});
  }
  std::string text = table.is_empty() ? "" : table.render(options);
  text += std::to_string(answer.going()) + (is_plan ? " artifacts would go" : " artifacts went") + ", " +
          bytes_text(answer.going_bytes());
  if (answer.kept() > 0) text += "; " + std::to_string(answer.kept()) + " stay, " + bytes_text(answer.kept_bytes());
  text += "\n";
  if (answer.stray_files() > 0) {
    text += std::to_string(answer.stray_files()) + " files without an artifact" +
            (is_plan ? " would go, " : " went, ") + bytes_text(answer.stray_bytes()) + "\n";
  }
  if (answer.unfinished()) text += "there is more; `freshet gc` again goes on\n";
  return text;
}

std::string render_move(const v1::Alias& alias) {
  std::string text =
      safe_text(alias.model()) + ": " + safe_text(alias.alias()) + " is now version " + std::to_string(alias.version());
  if (alias.previous_version() != 0 && alias.previous_version() != alias.version()) {
    text += " (was " + std::to_string(alias.previous_version()) + ")";
  }
  return text + "\n";
}

std::string render_lineage(const std::vector<LineageLink>& links, const RenderOptions& options) {
  std::string text;
  std::string indent;
  for (size_t i = 0; i < links.size(); ++i) {
    const LineageLink& link = links[i];
    const bool has_parent = i + 1 < links.size();
    text += (i == 0 ? "" : indent + "└─ warm start  ") + safe_text(version_name(link.version));
    if (!link.aliases.empty()) text += "  " + styled({joined(link.aliases), Style::kGood}, options);
    text += "\n";
    if (i > 0) indent += "   ";
    const auto facts = facts_of(link, options);
    for (size_t j = 0; j < facts.size(); ++j) {
      const bool is_last = j + 1 == facts.size() && !has_parent;
      const std::string& name = facts[j].first;
      text += indent + (is_last ? "└─ " : "├─ ") + name + std::string(12 - std::min<size_t>(10, name.size()), ' ') +
              styled(facts[j].second, options) + "\n";
    }
  }
  return text;
}

}  // namespace freshet::cli
