// apply, diff, pipelines.
#include <CLI/CLI.hpp>
#include <vector>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/documents.h"
#include "cli/render/system.h"

namespace freshet::cli {
namespace {

struct ApplyOptions {
  std::vector<std::string> paths;
  std::vector<std::string> variables;
  std::string reason;
};

Result<int> apply(Session& session, const ApplyOptions& options, bool dry_run) {
  ASSIGN_OR_RETURN(auto variables, parse_variables(options.variables));
  ASSIGN_OR_RETURN(auto request, load_request(options.paths, variables, session.globals.project, session.env.in));
  request.set_reason(options.reason);
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  v1::ApplyResponse response;
  RETURN_IF_ERROR(client->post(dry_run ? "diff" : "apply", {}, request, &response));
  return session.print(response, render_applied(response, dry_run, session.render_options()));
}

CLI::App* add_command(CLI::App& app, Session& session, const char* name, const char* description, bool dry_run) {
  auto options = std::make_shared<ApplyOptions>();
  CLI::App* command = app.add_subcommand(name, description);
  command
      ->add_option("-f,--filename", options->paths, "file, directory (its *.yaml) or - for standard input; repeatable")
      ->required()
      ->type_name("PATH")
      ->allow_extra_args(false);
  command->add_option("--var", options->variables, "gives ${NAME} in the documents its value; repeatable")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  if (!dry_run) {
    command->add_option("--reason", options->reason, "kept with what it changes and in the audit log")
        ->type_name("TEXT");
  }
  session.on(command, [&session, options, dry_run] { return apply(session, *options, dry_run); });
  return command;
}

}  // namespace

void add_apply(CLI::App& app, Session& session) {
  add_command(app, session, "apply", "Make the documents what the daemon carries out: all of them, or none", false)
      ->footer(
          examples({"freshet apply -f configs/flights/", "freshet apply -f pipeline.yaml --var DATA=/srv/flights"}));
  add_command(app, session, "diff", "Show what apply would change", true)
      ->footer(examples({"freshet diff -f configs/flights/"}));

  auto options = std::make_shared<ListOptions>();
  CLI::App* list = app.add_subcommand("pipelines", "List the pipelines");
  add_limit(list, options, 0);
  list->footer(examples({"freshet pipelines"}));
  session.on(list, [&session, options]() -> Result<int> {
    ASSIGN_OR_RETURN(auto client, Client::open(session));
    ASSIGN_OR_RETURN(auto all,
                     client->list<v1::ListPipelinesResponse>("pipelines", client->in_project(), options->limit));
    return session.print(all, render_pipelines(all, session.render_options()));
  });
}

}  // namespace freshet::cli
