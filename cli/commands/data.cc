// data: the entries of a pipeline's inputs; release or discard those in quarantine.
#include <CLI/CLI.hpp>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/render/system.h"

namespace freshet::cli {
namespace {

struct DataOptions : ListOptions {
  std::string pipeline;
  std::string input;
  std::string state;
  std::string reason;
  std::vector<std::string> uris;
  bool all = false;
};

std::string upper(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

void add_input(CLI::App* command, const std::shared_ptr<DataOptions>& options) {
  command->add_option("pipeline", options->pipeline, "the pipeline's name")->required()->type_name("PIPELINE");
  command->add_option("input", options->input, "the name of its input")->required()->type_name("INPUT");
}

Result<int> decide(Session& session, const DataOptions& options, v1::DecideEntriesRequest::Decision decision) {
  if (options.uris.empty() != options.all) {
    return invalid_argument("name the entries, or give --all for every quarantined one, but not both");
  }
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  v1::DecideEntriesRequest request;
  for (const auto& uri : options.uris) request.add_uris(uri);
  request.set_decision(decision);
  request.set_reason(options.reason);
  v1::ListEntriesResponse decided;
  RETURN_IF_ERROR(client->post(path_of({"data", options.pipeline, options.input, "decide"}), client->in_project(),
                               request, &decided));
  return session.print(decided, render_entries(decided, session.render_options()));
}

void add_decision(CLI::App* data, Session& session, const std::string& verb, const std::string& description,
                  v1::DecideEntriesRequest::Decision decision) {
  auto options = std::make_shared<DataOptions>();
  CLI::App* command = data->add_subcommand(verb, description);
  add_input(command, options);
  command->add_option("uri", options->uris, "the entries, as `freshet data list` names them")->type_name("URI");
  command->add_flag("--all", options->all, "every quarantined entry of the input");
  command->add_option("--reason", options->reason, "kept with the entries and in the audit log")
      ->required()
      ->type_name("TEXT");
  command->footer(examples({"freshet data " + verb + " flights days day=2001-03-05.parquet --reason 'looked at it'",
                            "freshet data " + verb + " flights days --all --reason 'the whole week'"}));
  session.on(command, [&session, options, decision] { return decide(session, *options, decision); });
}

}  // namespace

void add_data(CLI::App& app, Session& session) {
  CLI::App* data = app.add_subcommand("data", "The entries of a pipeline's inputs, and what is in quarantine");
  data->require_subcommand(1);
  data->footer(examples({"freshet data list flights days --state quarantined",
                         "freshet data discard flights days day=2001-03-05.parquet --reason 'labels shuffled'"}));

  auto options = std::make_shared<DataOptions>();
  CLI::App* list = data->add_subcommand("list", "List entries with their state and its reason");
  add_input(list, options);
  list->add_option("--state", options->state, "arrived, accepted, quarantined, discarded or gone")->type_name("STATE");
  add_limit(list, options, 0);
  list->footer(examples({"freshet data list flights days", "freshet data list flights days --state quarantined"}));
  session.on(list, [&session, options]() -> Result<int> {
    ASSIGN_OR_RETURN(auto client, Client::open(session));
    const Query query = client->in_project({{"state", upper(options->state)}});
    const std::string path = path_of({"data", options->pipeline, options->input});
    ASSIGN_OR_RETURN(auto entries, client->list<v1::ListEntriesResponse>(path, query, options->limit));
    return session.print(entries, render_entries(entries, session.render_options()));
  });
  add_decision(data, session, "release", "Accept quarantined entries after all", v1::DecideEntriesRequest::RELEASE);
  add_decision(data, session, "discard", "Keep quarantined entries out for ever", v1::DecideEntriesRequest::DISCARD);
}

}  // namespace freshet::cli
