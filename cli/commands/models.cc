// models: list, show, history; promote, rollback.
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
  std::string at;
  bool override_gates = false;
};

// The daemon says which time it took `at` for; it comes above what is shown.
std::string at_line(int64_t at_us) { return at_us == 0 ? "" : "at " + to_iso8601(Time{at_us}) + " (UTC)\n"; }

Result<int> list_models(Session& session, Client& client, const ModelOptions& options) {
  const Query query = client.in_project({{"at", options.at}});
  ASSIGN_OR_RETURN(auto models, client.list<v1::ListModelsResponse>("models", query, options.limit));
  return session.print(models, at_line(models.at_us()) + render_models(models, session.render_options()));
}

Result<int> show_models(Session& session, const ModelOptions& options) {
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  if (options.name.empty()) return list_models(session, *client, options);
  ASSIGN_OR_RETURN(ModelName name, parse_model_name(options.name));
  if (!name.alias.empty() && !options.at.empty()) {
    v1::AliasAtResponse answer;
    RETURN_IF_ERROR(client->get(path_of({"models", name.model, "aliases", name.alias}),
                                client->in_project({{"at", options.at}}), &answer));
    return session.print(answer, render_alias_at(answer, session.render_options()));
  }
  const bool is_one = name.version != 0 || !name.alias.empty();
  ASSIGN_OR_RETURN(auto versions, client->list<v1::ListModelVersionsResponse>(
                                      path_of({"models", name.model, "versions"}),
                                      client->in_project({{"at", options.at}}), is_one ? 1 : options.limit));
  const std::string at = at_line(versions.at_us());
  if (!is_one) return session.print(versions, at + render_versions(versions, session.render_options()));
  for (const auto& alias : versions.aliases()) {
    if (alias.alias() == name.alias) name.version = alias.version();
  }
  if (name.version == 0) return not_found("model " + name.model + " has no alias " + name.alias);
  if (!options.at.empty() && (versions.versions().empty() || versions.versions(0).version() < name.version)) {
    return not_found(options.name + " did not exist at " + to_iso8601(Time{versions.at_us()}));
  }
  v1::ModelVersion version;
  RETURN_IF_ERROR(client->get(path_of({"models", name.model, "versions", std::to_string(name.version)}),
                              client->in_project(), &version));
  return session.print(version, at + render_version(version, aliases_of(versions.aliases(), version.version()),
                                                    session.render_options()));
}

Result<int> show_history(Session& session, const ModelOptions& options) {
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  ASSIGN_OR_RETURN(auto moves, client->list<v1::ListAliasMovesResponse>(path_of({"models", options.name, "moves"}),
                                                                        client->in_project({{"alias", options.alias}}),
                                                                        options.limit));
  return session.print(moves, render_moves(moves, session.render_options()));
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

void add_shown(CLI::App* command, const std::shared_ptr<ModelOptions>& options, bool required) {
  command->add_option("model", options->name, "NAME: its versions; NAME/VERSION or NAME@ALIAS: that one")
      ->required(required)
      ->type_name("NAME[/VERSION]");
  command->add_option("--at", options->at, "as it was then: 2026-11-01T12:00 (UTC), 2026-11-01T12:00+01:00 or '2h ago'")
      ->type_name("TIME");
  add_limit(command, options, 50);
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
  add_shown(models, shown, false);
  models->footer(examples({"freshet models", "freshet models flights", "freshet models flights/3",
                           "freshet models flights@champion --json", "freshet models flights --at '2h ago'"}));
  session.on(models, [&session, shown] { return show_models(session, *shown); });

  auto named = std::make_shared<ModelOptions>();
  CLI::App* show = models->add_subcommand("show", "Show a model's versions, or one of them; also as it was");
  add_shown(show, named, true);
  show->footer(examples(
      {"freshet models show flights@champion --at 2026-11-01T12:00", "freshet models show flights --at '3d ago'"}));
  session.on(show, [&session, named] { return show_models(session, *named); });

  auto told = std::make_shared<ModelOptions>();
  CLI::App* history = models->add_subcommand("history", "List the moves of a model's aliases, newest first");
  history->add_option("model", told->name, "the model's name")->required()->type_name("NAME");
  history->add_option("--alias", told->alias, "only of this alias")->type_name("ALIAS");
  add_limit(history, told, 50);
  history->footer(examples({"freshet models history flights", "freshet models history flights --alias champion"}));
  session.on(history, [&session, told] { return show_history(session, *told); });

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
