// submit; runs: list, show, follow, cancel.
#include <CLI/CLI.hpp>
#include <algorithm>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/follow.h"
#include "cli/render/runs.h"

namespace freshet::cli {
namespace {

struct SubmitOptions {
  std::string pipeline;
  std::string commit;
  bool wait = false;
};

struct RunsOptions : ListOptions {
  std::string run;
  std::string pipeline;
  std::string state;
  std::string reason;
  bool follow = false;
};

Result<int> submit(Session& session, const SubmitOptions& options) {
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  v1::SubmitRequest request;
  request.set_project(session.globals.project);
  request.set_pipeline(options.pipeline);
  request.set_commit(options.commit);
  v1::Run run;
  RETURN_IF_ERROR(client->post("runs", {}, request, &run));
  if (!options.wait) return session.print(run, "run " + run.id() + " submitted\n");
  if (!session.globals.json) RETURN_IF_ERROR(session.print_text("run " + run.id() + " submitted\n").status());
  return follow_to_end(session, *client, run.id());
}

std::string upper(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

Result<int> list_runs(Session& session, const RunsOptions& options) {
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  const Query query = client->in_project({{"pipeline", options.pipeline}, {"state", upper(options.state)}});
  ASSIGN_OR_RETURN(auto runs, client->list<v1::ListRunsResponse>("runs", query, options.limit));
  return session.print(runs, render_runs(runs, session.render_options()));
}

Result<int> show_run(Session& session, const RunsOptions& options) {
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  v1::RunView view;
  RETURN_IF_ERROR(client->get(path_of({"runs", options.run}), client->in_project(), &view));
  if (options.follow) return follow_to_end(session, *client, view.run().id());
  return session.print(view, render_run(view, session.render_options()));
}

Result<int> cancel_run(Session& session, const RunsOptions& options) {
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  v1::CancelRunRequest request;
  request.set_reason(options.reason);
  v1::Run run;
  RETURN_IF_ERROR(client->post(path_of({"runs", options.run, "cancel"}), client->in_project(), request, &run));
  return session.print(run, render_outcome(run, session.render_options()));
}

void add_filters(CLI::App* command, const std::shared_ptr<RunsOptions>& options) {
  command->add_option("--pipeline", options->pipeline, "only of this pipeline")->type_name("NAME");
  command->add_option("--state", options->state, "queued, running, succeeded, failed or cancelled")->type_name("STATE");
  add_limit(command, options, 20);
}

}  // namespace

void add_runs(CLI::App& app, Session& session) {
  auto submitted = std::make_shared<SubmitOptions>();
  CLI::App* submit_command = app.add_subcommand("submit", "Start a run of a pipeline on the data that is there");
  submit_command->add_option("pipeline", submitted->pipeline, "the pipeline's name")->required()->type_name("PIPELINE");
  submit_command->add_option("--commit", submitted->commit, "the revision of its recipe (default: the newest accepted)")
      ->type_name("COMMIT");
  submit_command->add_flag("--wait", submitted->wait, "follow the run; the exit code says how it ended");
  submit_command->footer(examples({"freshet submit flights", "freshet submit flights --commit 4f9d2c1 --wait"}));
  session.on(submit_command, [&session, submitted] { return submit(session, *submitted); });

  auto options = std::make_shared<RunsOptions>();
  CLI::App* runs = app.add_subcommand("runs", "List runs, newest first, or show one");
  runs->add_option("run", options->run, "a run's id, or its first digits: show this run")->type_name("RUN_ID");
  runs->add_flag("-f,--follow", options->follow, "follow the run until it ends");
  add_filters(runs, options);
  runs->footer(examples({"freshet runs --state failed", "freshet runs 3f2a91c0 --follow",
                         "freshet runs --json --limit 0", "freshet runs cancel 3f2a91c0 --reason 'wrong data'"}));
  session.on(runs, [&session, options]() -> Result<int> {
    if (!options->run.empty()) return show_run(session, *options);
    if (options->follow) return invalid_argument("--follow needs the id of a run");
    return list_runs(session, *options);
  });

  CLI::App* list = runs->add_subcommand("list", "List runs, newest first");
  list->footer(examples({"freshet runs list --pipeline flights"}));
  session.on(list, [&session, options] { return list_runs(session, *options); });

  CLI::App* cancel = runs->add_subcommand("cancel", "Stop a run; its gangs are told to end");
  auto cancelled_run = std::make_shared<RunsOptions>();
  cancel->add_option("run", cancelled_run->run, "the run's id, or its first digits")->required()->type_name("RUN_ID");
  cancel->add_option("--reason", cancelled_run->reason, "kept in the audit log")->type_name("TEXT");
  cancel->footer(examples({"freshet runs cancel 3f2a91c0 --reason 'wrong data'"}));
  session.on(cancel, [&session, cancelled_run] { return cancel_run(session, *cancelled_run); });
}

}  // namespace freshet::cli
