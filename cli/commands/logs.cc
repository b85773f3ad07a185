// logs: what a run's processes wrote.
#include <CLI/CLI.hpp>
#include <ostream>
#include <set>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/render/runs.h"

namespace freshet::cli {
namespace {

constexpr Duration kBetweenLooks = Duration::millis(500);

struct LogOptions {
  std::string run;
  std::string step;
  bool standard_error = false;
  bool follow = false;
  std::string stream() const { return standard_error ? "stderr" : "stdout"; }
};

Status nobody_reads() { return cancelled("nobody reads the output"); }

// Prints the step's log to its present end; with `follow` until the step has ended.
Status print_log(Session& session, Client& client, const LogOptions& options, const std::string& step, bool follow) {
  uint64_t offset = 0;
  while (true) {
    ASSIGN_OR_RETURN(LogPart part, client.logs(options.run, step, options.stream(), offset));
    session.env.out << part.text << std::flush;
    offset = part.next_offset;
    if (part.complete || (part.text.empty() && !follow)) return Status::ok();
    if (part.text.empty() && !session.env.pause(kBetweenLooks)) return nobody_reads();
  }
}

// One step after the other, as they begin, until the run has ended.
Status follow_steps(Session& session, Client& client, const LogOptions& options) {
  std::set<std::string> shown;
  while (true) {
    v1::RunView view;
    RETURN_IF_ERROR(client.get(path_of({"runs", options.run}), client.in_project(), &view));
    const v1::StepStatus* next = nullptr;
    for (const auto& step : view.run().steps()) {
      if (step.epoch() > 0 && next == nullptr && !shown.contains(step.name() + "/" + std::to_string(step.epoch()))) {
        next = &step;
      }
    }
    if (next != nullptr) {
      shown.insert(next->name() + "/" + std::to_string(next->epoch()));
      RETURN_IF_ERROR(print_log(session, client, options, next->name(), true));
    } else if (is_ended(view.run())) {
      return Status::ok();
    } else if (!session.env.pause(kBetweenLooks)) {
      return nobody_reads();
    }
  }
}

}  // namespace

void add_logs(CLI::App& app, Session& session) {
  auto options = std::make_shared<LogOptions>();
  CLI::App* command = app.add_subcommand("logs", "Print what a run's processes wrote");
  command->add_option("run", options->run, "the run's id, or its first digits")->required()->type_name("RUN_ID");
  command->add_option("--step", options->step, "of this step (default: the one that ran last; with -f each in turn)")
      ->type_name("NAME");
  command->add_flag("-f,--follow", options->follow, "go on until the run has ended");
  command->add_flag("--stderr", options->standard_error, "standard error instead of standard output");
  command->footer(
      examples({"freshet logs 3f2a91c0", "freshet logs 3f2a91c0 -f", "freshet logs 3f2a91c0 --step train --stderr"}));
  session.on(command, [&session, options]() -> Result<int> {
    if (session.globals.json) return invalid_argument("logs are text; --json does not apply to them");
    ASSIGN_OR_RETURN(auto client, Client::open(session));
    if (options->follow && options->step.empty()) {
      RETURN_IF_ERROR(follow_steps(session, *client, *options));
    } else {
      RETURN_IF_ERROR(print_log(session, *client, *options, options->step, options->follow));
    }
    return kExitOk;
  });
}

}  // namespace freshet::cli
