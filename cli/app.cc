#include "cli/app.h"

#include <CLI/CLI.hpp>
#include <ostream>

#include "base/version.h"
#include "cli/commands/commands.h"

namespace freshet::cli {
namespace {

constexpr char kFooter[] =
    "Examples:\n"
    "  freshet up --detach\n"
    "  freshet apply -f configs/flights/\n"
    "  freshet runs\n"
    "  freshet models flights\n"
    "\n"
    "The daemon is the one of --server, else FRESHET_SERVER, else DATA_DIR/address. DATA_DIR is that of --data-dir, "
    "else\n"
    "FRESHET_DATA_DIR, else ~/.freshet.\n"
    "\n"
    "Exit codes: 0 done; 1 error; 2 wrong usage; 3 not found; 4 refused (conflict, gate, permission); 5 no daemon "
    "answers;\n"
    "6 the run failed (submit --wait, runs --follow).";

void add_globals(CLI::App& app, Globals& globals) {
  app.add_flag("--json", globals.json, "print the API's JSON");
  app.add_option("--server", globals.server, "address of the daemon, http://HOST:PORT")->type_name("URL");
  app.add_option("--token-file", globals.token_file, "file with the token (default DATA_DIR/admin.token)")
      ->type_name("PATH");
  app.add_option("--data-dir", globals.data_dir, "the daemon's data directory (default ~/.freshet)")->type_name("PATH");
  app.add_option("--project", globals.project, "the project (default: default)")->type_name("NAME");
  app.add_option("--idempotency-key", globals.idempotency_key,
                 "what an earlier call of this command was sent with: it is not done twice")
      ->type_name("KEY");
  app.add_flag("--no-color", globals.no_color, "no colours on a terminal");
}

void add_commands(CLI::App& app, Session& session) {
  add_up(app, session);
  add_apply(app, session);
  add_runs(app, session);
  add_logs(app, session);
  add_models(app, session);
  add_replay(app, session);
  add_lineage(app, session);
  add_gc(app, session);
  add_triggers(app, session);
  add_webhooks(app, session);
  add_data(app, session);
  add_audit(app, session);
  add_system(app, session);
  add_backup(app, session);
  add_completion(app, session);
}

// The command that was named, and the words that name it.
const CLI::App* chosen(const CLI::App& app, std::string* words) {
  const CLI::App* command = &app;
  *words = app.get_name();
  while (true) {
    const auto next = command->get_subcommands();
    if (next.empty()) return command;
    command = next.back();
    *words += " " + command->get_name();
  }
}

int fail(Environment& environment, const Status& status) {
  environment.out << std::flush;
  environment.err << "freshet: " << status.message() << "\n" << std::flush;
  return exit_code_of(status);
}

}  // namespace

int run_cli(int argc, const char* const* argv, Environment& environment) {
  Session session(environment);
  CLI::App app("Freshet keeps models fresh: it watches data and code, trains, judges and promotes.", "freshet");
  app.footer(kFooter);
  app.fallthrough();
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.set_version_flag("--version", std::string("freshet ") + kVersion);
  add_globals(app, session.globals);
  add_commands(app, session);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // help and version
    return app.exit(asked, environment.out, environment.err);
  } catch (const CLI::ParseError& error) {
    std::string words;
    chosen(app, &words);
    environment.err << "freshet: " << error.what() << "; see `" << words << " --help`\n" << std::flush;
    return kExitUsage;
  }
  std::string words;
  const Session::Action* action = session.action_of(chosen(app, &words));
  if (action == nullptr) {
    environment.err << "freshet: a command is missing; see `" << words << " --help`\n" << std::flush;
    return kExitUsage;
  }
  Result<int> result = (*action)();
  return result.is_ok() ? *result : fail(environment, result.status());
}

}  // namespace freshet::cli
