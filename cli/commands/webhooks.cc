// webhooks: list, dead, redeliver, test.
#include <google/protobuf/empty.pb.h>
#include <CLI/CLI.hpp>
#include <vector>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/render/webhooks.h"

namespace freshet::cli {
namespace {

struct WebhookOptions {
  std::string webhook;
  std::vector<std::string> events;
  bool all = false;
};

Result<int> list_webhooks(Session& session, size_t limit) {
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  ASSIGN_OR_RETURN(auto webhooks, client->list<v1::ListWebhooksResponse>("webhooks", client->in_project(), limit));
  return session.print(webhooks, render_webhooks(webhooks, session.render_options()));
}

Result<int> list_dead(Session& session, const WebhookOptions& options, size_t limit) {
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  const Query query = client->in_project({{"webhook", options.webhook}});
  ASSIGN_OR_RETURN(auto letters, client->list<v1::ListDeadLettersResponse>("dead_letters", query, limit));
  return session.print(letters, render_dead_letters(letters, session.render_options()));
}

Result<int> redeliver(Session& session, const WebhookOptions& options) {
  if (options.events.empty() != options.all) {
    return invalid_argument("name the events, or give --all for every dead letter, but not both");
  }
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  v1::RedeliverRequest request;
  request.set_webhook(options.webhook);
  for (const auto& event : options.events) request.add_event_ids(event);
  request.set_all(options.all);
  v1::ListDeadLettersResponse letters;
  RETURN_IF_ERROR(client->post("dead_letters/redeliver", client->in_project(), request, &letters));
  return session.print(letters, std::to_string(letters.dead_letters_size()) +
                                    " dead letters are tried once more; `freshet webhooks` shows what comes of it\n");
}

Result<int> test_webhook(Session& session, const std::string& name) {
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  v1::Event event;
  RETURN_IF_ERROR(
      client->post(path_of({"webhooks", name, "test"}), client->in_project(), google::protobuf::Empty(), &event));
  return session.print(event, "event " + safe_text(event.id()) + " is on its way to " + safe_text(name) +
                                  "; `freshet webhooks` shows what comes of it\n");
}

}  // namespace

void add_webhooks(CLI::App& app, Session& session) {
  auto limit = std::make_shared<ListOptions>();
  CLI::App* webhooks = app.add_subcommand("webhooks", "List webhooks with what they have taken, and what not");
  add_limit(webhooks, limit, 0);
  webhooks->footer(examples({"freshet webhooks", "freshet webhooks test on-call", "freshet webhooks redeliver --all"}));
  session.on(webhooks, [&session, limit] { return list_webhooks(session, limit->limit); });

  auto dead_options = std::make_shared<WebhookOptions>();
  auto dead_limit = std::make_shared<ListOptions>();
  CLI::App* dead = webhooks->add_subcommand("dead", "List the events that a webhook has not taken");
  dead->add_option("webhook", dead_options->webhook, "of this webhook only")->type_name("NAME");
  add_limit(dead, dead_limit, 0);
  dead->footer(examples({"freshet webhooks dead", "freshet webhooks dead on-call"}));
  session.on(dead,
             [&session, dead_options, dead_limit] { return list_dead(session, *dead_options, dead_limit->limit); });

  auto again_options = std::make_shared<WebhookOptions>();
  CLI::App* again = webhooks->add_subcommand("redeliver", "Try dead letters once more");
  again->add_option("event", again_options->events, "ids, as `freshet webhooks dead` shows them")->type_name("ID");
  again->add_flag("--all", again_options->all, "every dead letter");
  again->add_option("--webhook", again_options->webhook, "of this webhook only")->type_name("NAME");
  again->footer(examples({"freshet webhooks redeliver 7d1f0c3a9b2e4d5f8a6b7c8d9e0f1a2b",
                          "freshet webhooks redeliver --all --webhook on-call"}));
  session.on(again, [&session, again_options] { return redeliver(session, *again_options); });

  auto name = std::make_shared<std::string>();
  CLI::App* test = webhooks->add_subcommand("test", "Send a webhook an event that says nothing");
  test->add_option("webhook", *name, "the webhook's name")->required()->type_name("NAME");
  test->footer(examples({"freshet webhooks test on-call"}));
  session.on(test, [&session, name] { return test_webhook(session, *name); });
}

}  // namespace freshet::cli
