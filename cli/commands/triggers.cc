// triggers: list, pause, resume; sources.
#include <CLI/CLI.hpp>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/render/system.h"

namespace freshet::cli {
namespace {

void add_switch(CLI::App* triggers, Session& session, const std::string& verb, const std::string& description) {
  auto name = std::make_shared<std::string>();
  auto reason = std::make_shared<std::string>();
  CLI::App* command = triggers->add_subcommand(verb, description);
  command->add_option("trigger", *name, "the trigger's name")->required()->type_name("NAME");
  command->add_option("--reason", *reason, "kept with the trigger and in the audit log")->type_name("TEXT");
  command->footer(examples({"freshet triggers " + verb + " flights-new-data --reason 'the source moves'"}));
  session.on(command, [&session, name, reason, verb]() -> Result<int> {
    ASSIGN_OR_RETURN(auto client, Client::open(session));
    v1::PauseTriggerRequest request;
    request.set_reason(*reason);
    v1::TriggerView view;
    RETURN_IF_ERROR(client->post(path_of({"triggers", *name, verb}), client->in_project(), request, &view));
    return session.print(view,
                         "trigger " + safe_text(*name) + (view.trigger().spec().paused() ? " paused\n" : " active\n"));
  });
}

}  // namespace

void add_triggers(CLI::App& app, Session& session) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* triggers = app.add_subcommand("triggers", "List triggers with what they last decided, and why");
  add_limit(triggers, options, 0);
  triggers->footer(examples({"freshet triggers", "freshet triggers pause flights-new-data"}));
  session.on(triggers, [&session, options]() -> Result<int> {
    ASSIGN_OR_RETURN(auto client, Client::open(session));
    ASSIGN_OR_RETURN(auto all,
                     client->list<v1::ListTriggersResponse>("triggers", client->in_project(), options->limit));
    return session.print(all, render_triggers(all, session.render_options()));
  });
  add_switch(triggers, session, "pause", "Stop a trigger from firing");
  add_switch(triggers, session, "resume", "Let a paused trigger fire again");

  auto source_options = std::make_shared<ListOptions>();
  CLI::App* sources = app.add_subcommand("sources", "List sources with their state");
  add_limit(sources, source_options, 0);
  sources->footer(examples({"freshet sources"}));
  session.on(sources, [&session, source_options]() -> Result<int> {
    ASSIGN_OR_RETURN(auto client, Client::open(session));
    ASSIGN_OR_RETURN(auto all,
                     client->list<v1::ListSourcesResponse>("sources", client->in_project(), source_options->limit));
    return session.print(all, render_sources(all, session.render_options()));
  });
}

}  // namespace freshet::cli
