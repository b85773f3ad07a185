// models, promote, rollback.
#include <CLI/CLI.hpp>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/render/models.h"

namespace freshet::cli {
namespace {

struct ModelOptions : ListOptions {
  std::string name;
  std::string version;
  std::string expected;
  std::string alias;
  std::string reason;
  bool override_gates = false;
};

Result<v1::ListModelVersionsResponse> versions_of(Client& client, const std::string& model, size_t limit) {
  return client.list<v1::ListModelVersionsResponse>(path_of({"models", model, "versions"}), client.in_project(), limit);
}

Result<int> show_models(Session& session, const ModelOptions& options) {
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  if (options.name.empty()) {
    ASSIGN_OR_RETURN(auto models, client->list<v1::ListModelsResponse>("models", client->in_project(), options.limit));
    return session.print(models, render_models(models, session.render_options()));
  }
  ASSIGN_OR_RETURN(ModelName name, parse_model_name(options.name));
  const bool is_one = name.version != 0 || !name.alias.empty();
  ASSIGN_OR_RETURN(auto versions, versions_of(*client, name.model, is_one ? 1 : options.limit));
  if (!is_one) return session.print(versions, render_versions(versions, session.render_options()));
  for (const auto& alias : versions.aliases()) {
    if (alias.alias() == name.alias) name.version = alias.version();
  }
  if (name.version == 0) return not_found("model " + name.model + " has no alias " + name.alias);
  v1::ModelVersion version;
  RETURN_IF_ERROR(client->get(path_of({"models", name.model, "versions", std::to_string(name.version)}),
                              client->in_project(), &version));
  return session.print(
      version, render_version(version, aliases_of(versions.aliases(), version.version()), session.render_options()));
}

Result<int> promote(Session& session, const ModelOptions& options) {
  ASSIGN_OR_RETURN(uint64_t version, parse_version(options.version));
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  v1::PromoteRequest request;
  request.set_version(version);
  request.set_alias(options.alias);
  request.set_reason(options.reason);
  request.set_override_gates(options.override_gates);
  if (!options.expected.empty()) {
    ASSIGN_OR_RETURN(uint64_t expected, parse_version(options.expected));
    request.set_expected_current_version(expected);
  }
  v1::Alias alias;
  RETURN_IF_ERROR(client->post(path_of({"models", options.name, "promote"}), client->in_project(), request, &alias));
  return session.print(alias, render_move(alias));
}

Result<int> rollback(Session& session, const ModelOptions& options) {
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  v1::RollbackRequest request;
  request.set_alias(options.alias);
  request.set_reason(options.reason);
  v1::Alias alias;
  RETURN_IF_ERROR(client->post(path_of({"models", options.name, "rollback"}), client->in_project(), request, &alias));
  return session.print(alias, render_move(alias));
}

void add_move_options(CLI::App* command, const std::shared_ptr<ModelOptions>& options) {
  command->add_option("--reason", options->reason, "kept in the audit log and with the move")
      ->required()
      ->type_name("TEXT");
  command->add_option("--alias", options->alias, "the alias to move (default champion)")->type_name("ALIAS");
}

}  // namespace

void add_models(CLI::App& app, Session& session) {
  auto shown = std::make_shared<ModelOptions>();
  CLI::App* models = app.add_subcommand("models", "List models, the versions of one, or show one version");
  models->add_option("model", shown->name, "NAME: its versions; NAME/VERSION or NAME@ALIAS: that one")
      ->type_name("NAME[/VERSION]");
  add_limit(models, shown, 50);
  models->footer(examples({"freshet models", "freshet models flights", "freshet models flights/3",
                           "freshet models flights@champion --json"}));
  session.on(models, [&session, shown] { return show_models(session, *shown); });

  auto promoted = std::make_shared<ModelOptions>();
  CLI::App* promote_command = app.add_subcommand("promote", "Move an alias to a version");
  promote_command->add_option("model", promoted->name, "the model's name")->required()->type_name("NAME");
  promote_command->add_option("version", promoted->version, "its version")->required()->type_name("VERSION");
  add_move_options(promote_command, promoted);
  promote_command->add_flag("--override-gates", promoted->override_gates, "also when its verdict did not pass");
  promote_command->add_option("--expect", promoted->expected, "only if the alias is at this version now")
      ->type_name("VERSION");
  promote_command->footer(examples({"freshet promote flights 4 --reason 'approved by risk'",
                                    "freshet promote flights 4 --expect 3 --reason 'better than 3 on all slices'",
                                    "freshet promote flights 4 --alias staging --reason 'to try it'"}));
  session.on(promote_command, [&session, promoted] { return promote(session, *promoted); });

  auto rolled_back = std::make_shared<ModelOptions>();
  CLI::App* rollback_command = app.add_subcommand("rollback", "Move an alias back to the version before");
  rollback_command->add_option("model", rolled_back->name, "the model's name")->required()->type_name("NAME");
  add_move_options(rollback_command, rolled_back);
  rollback_command->footer(examples({"freshet rollback flights --reason 'complaints from serving'"}));
  session.on(rollback_command, [&session, rolled_back] { return rollback(session, *rolled_back); });
}

}  // namespace freshet::cli
