// audit: list, head, verify.
#include <CLI/CLI.hpp>
#include <ostream>
#include <sstream>

#include "base/file.h"
#include "base/parse_time.h"
#include "base/sha256.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/render/format.h"
#include "cli/render/system.h"
#include "proto/json.h"

namespace freshet::cli {
namespace {

struct AuditOptions : ListOptions {
  std::string since, actor, action;
};

Result<int> list_audit(Session& session, const AuditOptions& options) {
  Query query = {{"actor", options.actor}, {"action", options.action}};
  if (!options.since.empty()) {
    ASSIGN_OR_RETURN(Time since, parse_time(options.since, session.env.clock.now()));
    query.emplace_back("since_us", std::to_string(since.us));
  }
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  ASSIGN_OR_RETURN(auto records, client->list<v1::ListAuditResponse>("audit", query, options.limit));
  return session.print(records, render_audit(records, session.render_options()));
}

// A line for each head, as `freshet audit head` prints them.
Result<std::vector<v1::AuditHead>> read_heads(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, read_file(path));
  std::vector<v1::AuditHead> heads;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    const Status status = from_json(line, &heads.emplace_back());
    if (!status.is_ok() || !is_sha256_hex(heads.back().digest())) {
      return invalid_argument(path + " is not what `freshet audit head` printed: " + line.substr(0, 100));
    }
  }
  if (heads.empty()) return invalid_argument(path + " holds no head; `freshet audit head` prints one");
  return heads;
}

Result<int> verify(Session& session, const std::string& head_file) {
  std::string heads;
  size_t kept = 0;
  if (!head_file.empty()) {
    ASSIGN_OR_RETURN(auto read, read_heads(head_file));
    kept = read.size();
    for (const v1::AuditHead& head : read) {
      heads += (heads.empty() ? "" : ",") + std::to_string(head.revision()) + ":" + head.digest();
    }
  }
  ASSIGN_OR_RETURN(auto client, Client::open(session));
  v1::VerifyAuditResponse page;
  for (uint64_t checked = 0;;) {
    const std::string token = page.next_page_token();
    page.Clear();
    RETURN_IF_ERROR(
        client->get("audit/verify", {{"page_size", "1000"}, {"page_token", token}, {"heads", heads}}, &page));
    checked += page.checked();
    page.set_checked(checked);
    if (page.has_problem() || page.next_page_token().empty()) break;
    if (session.env.is_terminal) {
      session.env.err << "\rrevision " << page.revision() << " of " << page.newest_revision() << std::flush;
    }
  }
  if (session.env.is_terminal) session.env.err << "\r\033[K" << std::flush;
  ASSIGN_OR_RETURN(int printed, session.print(page, render_verified(page, kept)));
  return page.has_problem() ? static_cast<int>(kExitError) : printed;
}

}  // namespace

void add_audit(CLI::App& app, Session& session) {
  auto options = std::make_shared<AuditOptions>();
  CLI::App* audit = app.add_subcommand("audit", "List who changed what, newest first; check that nobody changed that");
  add_limit(audit, options, 50);
  audit->add_option("--since", options->since, "only what was changed from then on: 2026-11-01T12:00, '7d ago'")
      ->type_name("TIME");
  audit->add_option("--actor", options->actor, "only by this actor")->type_name("NAME");
  audit->add_option("--action", options->action, "only actions that hold this text")->type_name("TEXT");
  audit->footer(examples({"freshet audit --limit 10", "freshet audit --since '7d ago' --action promote",
                          "freshet audit --actor admin --limit 0 --json"}));
  session.on(audit, [&session, options] { return list_audit(session, *options); });

  CLI::App* head = audit->add_subcommand("head", "Print where the log stands, to be kept somewhere else");
  head->footer(examples({"freshet audit head >> /mnt/elsewhere/heads"}));
  session.on(head, [&session]() -> Result<int> {
    ASSIGN_OR_RETURN(auto client, Client::open(session));
    v1::AuditHead found;
    RETURN_IF_ERROR(client->get("audit/head", {}, &found));
    return session.print_text(to_json(found) + "\n");
  });

  auto head_file = std::make_shared<std::string>();
  CLI::App* check = audit->add_subcommand("verify", "Check the log's chain; names the first record that does not fit");
  check->add_option("--head", *head_file, "heads that were kept: the log must still hold them")->type_name("FILE");
  check->footer(examples({"freshet audit verify", "freshet audit verify --head /mnt/elsewhere/heads"}));
  session.on(check, [&session, head_file] { return verify(session, *head_file); });
}

}  // namespace freshet::cli
