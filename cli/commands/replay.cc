// replay.
#include <CLI/CLI.hpp>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/follow.h"

namespace freshet::cli {
namespace {

struct ReplayOptions {
  std::string version;
  std::string reason;
  bool wait = false;
};

Result<int> replay(Session& session, const ReplayOptions& options) {
  ASSIGN_OR_RETURN(ModelName name, parse_model_name(options.version));
  if (name.version == 0) {
    return invalid_argument("'" + options.version + "' names no version; use NAME/VERSION, for example flights/3");
  }
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  v1::ReplayRequest request;
  request.set_reason(options.reason);
  v1::Run run;
  RETURN_IF_ERROR(client->post(path_of({"models", name.model, "versions", std::to_string(name.version), "replay"}),
                               client->in_project(), request, &run));
  const std::string submitted = "run " + run.id() + " submitted\n";
  if (!options.wait) return session.print(run, submitted);
  if (!session.globals.json) RETURN_IF_ERROR(session.print_text(submitted).status());
  return follow_to_end(session, *client, run.id());
}

}  // namespace

void add_replay(CLI::App& app, Session& session) {
  auto options = std::make_shared<ReplayOptions>();
  CLI::App* command = app.add_subcommand("replay", "Train a version again from its record and compare the weights");
  command->add_option("version", options->version, "the version")->required()->type_name("NAME/VERSION");
  command->add_option("--reason", options->reason, "kept in the audit log")->type_name("TEXT");
  command->add_flag("--wait", options->wait, "follow the run; the exit code says how it ended");
  command->footer(examples({"freshet replay flights/3 --wait", "freshet replay flights/3 --wait --json",
                            "freshet replay flights/3 --reason 'audit of the third quarter'"}));
  session.on(command, [&session, options] { return replay(session, *options); });
}

}  // namespace freshet::cli
