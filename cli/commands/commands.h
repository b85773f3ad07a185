// The commands, a function a group. Each adds its subcommands to `app`, with their options and examples, and says in
// `session` what they do. Called once, before the command line is read.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/session.h"

namespace freshet::cli {

void add_up(CLI::App& app, Session& session);
void add_apply(CLI::App& app, Session& session);  // apply, diff, pipelines
void add_runs(CLI::App& app, Session& session);   // submit, runs
void add_logs(CLI::App& app, Session& session);
void add_models(CLI::App& app, Session& session);  // models, promote, rollback
void add_replay(CLI::App& app, Session& session);
void add_gc(CLI::App& app, Session& session);
void add_lineage(CLI::App& app, Session& session);
void add_triggers(CLI::App& app, Session& session);  // triggers, sources
void add_webhooks(CLI::App& app, Session& session);
void add_data(CLI::App& app, Session& session);
void add_audit(CLI::App& app, Session& session);
void add_system(CLI::App& app, Session& session);  // nodes, version
void add_backup(CLI::App& app, Session& session);  // backup, restore
void add_completion(CLI::App& app, Session& session);

// The program freshetd that lies beside this one.
Result<std::string> find_daemon();
// Becomes that program; returns only when it can't.
Status become(std::vector<std::string> words);

// "Examples:" and the lines, below a command's help.
std::string examples(const std::vector<std::string>& lines);

// Options shared by listings: --limit.
struct ListOptions {
  size_t limit = 0;
};
void add_limit(CLI::App* command, const std::shared_ptr<ListOptions>& options, size_t standard);

// "NAME", "NAME/VERSION" or "NAME@ALIAS".
struct ModelName {
  std::string model;
  uint64_t version = 0;  // 0: not named
  std::string alias;
};
Result<ModelName> parse_model_name(const std::string& text);
Result<uint64_t> parse_version(const std::string& text);

}  // namespace freshet::cli
