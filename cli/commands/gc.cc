// gc: what garbage collection would take, or a round of it now.
#include <CLI/CLI.hpp>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/render/models.h"

namespace freshet::cli {
namespace {

struct GcOptions {
  bool dry_run = false;
  bool verbose = false;
  std::string reason;
};

Result<int> collect(Session& session, const GcOptions& options) {
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  v1::GcResponse plan;
  if (options.dry_run || options.verbose) {
    RETURN_IF_ERROR(client->get("gc", {{"all", options.verbose ? "true" : ""}}, &plan));
    if (options.dry_run) return session.print(plan, render_gc(plan, true, session.render_options()));
  }
  v1::GcRequest request;
  request.set_reason(options.reason);
  v1::GcResponse done;
  RETURN_IF_ERROR(client->post("gc", {}, request, &done));
  done.set_kept(plan.kept());
  done.set_kept_bytes(plan.kept_bytes());
  for (const auto& item : plan.items()) {
    if (!item.goes()) *done.add_items() = item;
  }
  return session.print(done, render_gc(done, false, session.render_options()));
}

}  // namespace

void add_gc(CLI::App& app, Session& session) {
  auto options = std::make_shared<GcOptions>();
  CLI::App* command = app.add_subcommand("gc", "Remove artifacts that no version, run or rule needs");
  command->add_flag("--dry-run", options->dry_run, "remove nothing; say what would go, how many bytes, and why");
  command->add_flag("--verbose", options->verbose, "name what stays, too, and why");
  command->add_option("--reason", options->reason, "kept in the audit log")->type_name("TEXT");
  command->footer(examples({"freshet gc --dry-run", "freshet gc --dry-run --verbose", "freshet gc"}));
  session.on(command, [&session, options] { return collect(session, *options); });
}

}  // namespace freshet::cli
