// lineage: what a version was made from, and what that was made from.
#include <CLI/CLI.hpp>
#include <set>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/render/models.h"

namespace freshet::cli {
namespace {

// The version that the name means: its version, its alias, the champion, else the newest.
Result<uint64_t> resolve(const ModelName& name, const v1::ListModelVersionsResponse& versions) {
  if (name.version != 0) return name.version;
  const std::string alias = name.alias.empty() ? "champion" : name.alias;
  for (const auto& candidate : versions.aliases()) {
    if (candidate.alias() == alias) return candidate.version();
  }
  if (!name.alias.empty()) return not_found("model " + name.model + " has no alias " + name.alias);
  if (versions.versions().empty()) return not_found("model " + name.model + " has no versions");
  return versions.versions(0).version();
}

// What is not there any more (a run that was removed, say) is left out; the version itself must be there.
Result<LineageLink> link_of(Client& client, const std::string& model, uint64_t version) {
  LineageLink link;
  RETURN_IF_ERROR(
      client.get(path_of({"models", model, "versions", std::to_string(version)}), client.in_project(), &link.version));
  v1::RunView view;
  Status status = client.get(path_of({"runs", link.version.run_id()}), client.in_project(), &view);
  if (status.is_ok()) {
    link.run = view.run();
  } else if (status.code() != Code::kNotFound) {
    return status;
  }
  for (const auto& input : link.version.inputs()) {
    v1::DatasetVersion dataset;
    RETURN_IF_ERROR(client.get(path_of({"datasets", input.dataset_digest()}), client.in_project(), &dataset));
    link.datasets.push_back(std::move(dataset));
  }
  return link;
}

Result<int> show_lineage(Session& session, const std::string& text, const std::string& at) {
  ASSIGN_OR_RETURN(ModelName name, parse_model_name(text));
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  const std::string path = path_of({"models", name.model, "versions"});
  ASSIGN_OR_RETURN(auto versions,
                   client->list<v1::ListModelVersionsResponse>(path, client->in_project({{"at", at}}), 1));
  ASSIGN_OR_RETURN(uint64_t version, resolve(name, versions));

  std::vector<LineageLink> links;
  v1::ListModelVersionsResponse chain;
  std::set<uint64_t> seen;
  std::string model = name.model;
  while (version != 0 && seen.insert(version).second) {
    ASSIGN_OR_RETURN(LineageLink link, link_of(*client, model, version));
    if (model == name.model) link.aliases = aliases_of(versions.aliases(), version);
    *chain.add_versions() = link.version;
    const std::string parent = link.version.warm_start_version();
    links.push_back(std::move(link));
    if (parent.empty()) break;
    ASSIGN_OR_RETURN(ModelName next, parse_model_name(parent));
    model = next.model;
    version = next.version;
  }
  *chain.mutable_aliases() = versions.aliases();
  chain.set_at_us(versions.at_us());
  const std::string time = at.empty() ? "" : "at " + to_iso8601(Time{versions.at_us()}) + " (UTC)\n";
  return session.print(chain, time + render_lineage(links, session.render_options()));
}

}  // namespace

void add_lineage(CLI::App& app, Session& session) {
  auto name = std::make_shared<std::string>();
  auto at = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("lineage", "Show what a version was made from: run, code, data, ancestors");
  command->add_option("model", *name, "NAME (its champion), NAME@ALIAS or NAME/VERSION")->required()->type_name("NAME");
  command->add_option("--at", *at, "of the version that the name meant then: 2026-11-01T12:00 (UTC) or '2h ago'")
      ->type_name("TIME");
  command->footer(examples({"freshet lineage flights", "freshet lineage flights@champion", "freshet lineage flights/3",
                            "freshet lineage flights --at 2026-11-01T12:00"}));
  session.on(command, [&session, name, at] { return show_lineage(session, *name, *at); });
}

}  // namespace freshet::cli
