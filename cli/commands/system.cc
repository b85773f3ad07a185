// nodes, version.
#include <CLI/CLI.hpp>

#include "base/version.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/render/system.h"

namespace freshet::cli {
namespace {

Result<int> show_version(Session& session) {
  const std::string own = std::string("freshet ") + kVersion + "\n";
  auto client = Client::open(session);
  if (!client.is_ok()) {
    if (session.globals.json) return client.status();
    return session.print_text(own + "no daemon: " + client.status().message() + "\n");
  }
  v1::VersionResponse version;
  Status status = (*client)->get("version", {}, &version);
  if (session.globals.json) {
    RETURN_IF_ERROR(status);
    return session.print_json(version);
  }
  if (!status.is_ok()) return session.print_text(own + "no daemon: " + status.message() + "\n");
  return session.print_text(own + "daemon " + safe_text(version.version()) + " at " + (*client)->server() + ", term " +
                            std::to_string(version.term()) + ", revision " + std::to_string(version.revision()) + "\n");
}

}  // namespace

void add_system(CLI::App& app, Session& session) {
  CLI::App* nodes = app.add_subcommand("nodes", "List nodes with their slots");
  nodes->footer(examples({"freshet nodes"}));
  session.on(nodes, [&session]() -> Result<int> {
    ASSIGN_OR_RETURN(auto client, Client::open(session));
    v1::ListNodesResponse all;
    RETURN_IF_ERROR(client->get("nodes", {}, &all));
    return session.print(all, render_nodes(all, session.render_options()));
  });

  CLI::App* version = app.add_subcommand("version", "Print the version of this program and of the daemon");
  version->footer(examples({"freshet version"}));
  session.on(version, [&session] { return show_version(session); });
}

}  // namespace freshet::cli
