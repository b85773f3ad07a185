// Runs as text: the list, one run in full, and its progress while it is followed. Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "cli/render/table.h"
#include "proto/api.pb.h"

namespace freshet::cli {

std::string render_runs(const v1::ListRunsResponse& runs, const RenderOptions& options);
std::string render_run(const v1::RunView& view, const RenderOptions& options);
std::string render_verdict(const v1::Verdict& verdict, const RenderOptions& options);

// What is known of a run while it goes on. `waiting_reason` and `total_steps` may come from an earlier look.
struct Progress {
  v1::RunEvent event;
  std::string waiting_reason;
  uint64_t total_steps = 0;
};

// One line of at most `columns`: the step at work, a bar where the number of steps is known, and the newest metrics.
std::string render_progress(const Progress& progress, const RenderOptions& options, size_t columns);

// One line for each step that changed: "train: RUNNING".
std::vector<std::string> step_changes(const v1::Run& before, const v1::Run& after);

// The last line about a run: how it ended.
std::string render_outcome(const v1::Run& run, const RenderOptions& options);

bool is_ended(const v1::Run& run);

}  // namespace freshet::cli
