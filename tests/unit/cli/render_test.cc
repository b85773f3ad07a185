// What people see: each message of tests/data/cli/*.json as the text of the golden file beside it.
#include <gtest/gtest.h>

#include "cli/render/models.h"
#include "cli/render/runs.h"
#include "cli/render/system.h"
#include "cli/render/webhooks.h"
#include "tests/unit/cli/golden.h"

namespace freshet::cli {
namespace {

using test::expect_golden;
using test::kNow;
using test::message_of;

RenderOptions plain() { return {.color = false, .now = kNow}; }

TEST(Render, Runs) {
  expect_golden("runs", render_runs(message_of<v1::ListRunsResponse>("runs"), plain()));
  EXPECT_EQ(render_runs({}, plain()), "no runs\n");
}

TEST(Render, RunsInColor) {
  expect_golden("runs_color", render_runs(message_of<v1::ListRunsResponse>("runs"), {.color = true, .now = kNow}));
}

TEST(Render, ARunThatIsDone) { expect_golden("run_done", render_run(message_of<v1::RunView>("run_done"), plain())); }

TEST(Render, ARunThatWaits) {
  expect_golden("run_waiting", render_run(message_of<v1::RunView>("run_waiting"), plain()));
}

TEST(Render, AReplay) { expect_golden("run_replay", render_run(message_of<v1::RunView>("run_replay"), plain())); }

TEST(Render, Models) { expect_golden("models", render_models(message_of<v1::ListModelsResponse>("models"), plain())); }

TEST(Render, Versions) {
  expect_golden("versions", render_versions(message_of<v1::ListModelVersionsResponse>("versions"), plain()));
}

TEST(Render, AVersion) {
  expect_golden("version", render_version(message_of<v1::ModelVersion>("version"), {"champion"}, plain()));
}

TEST(Render, WhatAnAliasPointedTo) {
  auto answer = message_of<v1::AliasAtResponse>("alias_at");
  expect_golden("alias_at", render_alias_at(answer, plain()));
  answer.clear_next();
  EXPECT_NE(render_alias_at(answer, plain()).find("it points there still\n"), std::string::npos);
}

TEST(Render, HistoryOfAliases) {
  expect_golden("moves", render_moves(message_of<v1::ListAliasMovesResponse>("moves"), plain()));
  EXPECT_EQ(render_moves({}, plain()), "no moves\n");
}

TEST(Render, Lineage) {
  auto versions = message_of<v1::ListModelVersionsResponse>("versions");
  std::vector<LineageLink> links(3);
  for (size_t i = 0; i < 3; ++i) links[i].version = versions.versions(static_cast<int>(i));
  links[1].aliases = {"champion", "staging"};
  links[1].run = message_of<v1::RunView>("run_done").run();
  links[1].datasets = {message_of<v1::DatasetVersion>("dataset")};
  expect_golden("lineage", render_lineage(links, plain()));
}

TEST(Render, Moves) {
  v1::Alias alias;
  alias.set_model("flights");
  alias.set_alias("champion");
  alias.set_version(3);
  EXPECT_EQ(render_move(alias), "flights: champion is now version 3\n");
  alias.set_previous_version(2);
  EXPECT_EQ(render_move(alias), "flights: champion is now version 3 (was 2)\n");
}

TEST(Render, Applied) {
  const auto response = message_of<v1::ApplyResponse>("applied");
  expect_golden("applied", render_applied(response, false, plain()) + "\n" + render_applied(response, true, plain()));
}

TEST(Render, Lists) {
  expect_golden("pipelines", render_pipelines(message_of<v1::ListPipelinesResponse>("pipelines"), plain()));
  expect_golden("sources", render_sources(message_of<v1::ListSourcesResponse>("sources"), plain()));
  expect_golden("triggers", render_triggers(message_of<v1::ListTriggersResponse>("triggers"), plain()));
  expect_golden("entries", render_entries(message_of<v1::ListEntriesResponse>("entries"), plain()));
  expect_golden("nodes", render_nodes(message_of<v1::ListNodesResponse>("nodes"), plain()));
  expect_golden("webhooks", render_webhooks(message_of<v1::ListWebhooksResponse>("webhooks"), plain()));
  expect_golden("dead_letters", render_dead_letters(message_of<v1::ListDeadLettersResponse>("dead_letters"), plain()));
  expect_golden("audit", render_audit(message_of<v1::ListAuditResponse>("audit"), plain()));
}

TEST(Render, NothingIsSaidInWords) {
  EXPECT_EQ(render_models({}, plain()), "no models\n");
  EXPECT_EQ(render_versions({}, plain()), "no versions\n");
  EXPECT_EQ(render_applied({}, false, plain()), "nothing to apply\n");
  EXPECT_EQ(render_pipelines({}, plain()), "no pipelines\n");
  EXPECT_EQ(render_sources({}, plain()), "no sources\n");
  EXPECT_EQ(render_triggers({}, plain()), "no triggers\n");
  EXPECT_EQ(render_entries({}, plain()), "no entries\n");
  EXPECT_EQ(render_nodes({}, plain()), "no nodes\n");
  EXPECT_EQ(render_audit({}, plain()), "no audit records\n");
  EXPECT_EQ(render_webhooks({}, plain()), "no webhooks\n");
  EXPECT_EQ(render_dead_letters({}, plain()), "no dead letters\n");
}

Progress progress_of_run() {
  Progress progress;
  progress.event = message_of<v1::RunEvent>("run_event");
  progress.total_steps = 280;
  return progress;
}

TEST(Progress, ATrainStepHasABar) {
  EXPECT_EQ(render_progress(progress_of_run(), plain(), 200),
            "train  [##########..............] 42 %  step 120/280  loss 0.5123  45,120 examples/s  41.5s");
}

TEST(Progress, TheTotalOfTheEventWins) {
  Progress progress = progress_of_run();
  auto* total = progress.event.add_samples();
  total->set_name("total_steps");
  total->set_value(120);
  EXPECT_EQ(render_progress(progress, plain(), 200),
            "train  [########################] 100 %  step 120/120  loss 0.5123  45,120 examples/s  41.5s");
}

TEST(Progress, FitsTheTerminal) { EXPECT_EQ(render_progress(progress_of_run(), plain(), 12), "train  [####"); }

TEST(Progress, BeforeTheFirstStepThereIsNoBar) {
  Progress progress = progress_of_run();
  progress.event.clear_samples();
  progress.total_steps = 0;
  EXPECT_EQ(render_progress(progress, plain(), 200), "train  41.5s");
}

TEST(Progress, AStepThatWaitsSaysWhy) {
  Progress progress;
  auto view = message_of<v1::RunView>("run_waiting");
  *progress.event.mutable_run() = view.run();
  progress.waiting_reason = view.waiting_reason();
  EXPECT_EQ(render_progress(progress, plain(), 200),
            "train  waits for a place: it needs 4 slots; node-1 has 1 free of 4  41.5s");
}

TEST(Progress, NamesWhatChanged) {
  v1::Run before = message_of<v1::RunView>("run_waiting").run();
  v1::Run after = before;
  EXPECT_TRUE(step_changes(before, after).empty());
  after.mutable_steps(0)->set_state(v1::StepStatus::RUNNING);
  after.mutable_steps(0)->set_epoch(1);
  EXPECT_EQ(step_changes(before, after), std::vector<std::string>{"train: RUNNING"});
  before = after;
  after.mutable_steps(0)->set_epoch(2);
  after.mutable_steps(1)->set_state(v1::StepStatus::FAILED);
  after.mutable_steps(1)->set_message("bad\nnews");
  EXPECT_EQ(step_changes(before, after),
            (std::vector<std::string>{"train: RUNNING (try 2)", "evaluate: FAILED: bad news"}));
  EXPECT_EQ(step_changes({}, message_of<v1::RunView>("run_waiting").run()), std::vector<std::string>{"train: READY"});
}

TEST(Render, Outcomes) {
  const auto runs = message_of<v1::ListRunsResponse>("runs");
  EXPECT_EQ(render_outcome(runs.runs(1), plain()),
            "run abababababab SUCCEEDED in 49.0s, flights/3: refused: gate auc: auc 0.541 < 0.55\n");
  EXPECT_EQ(render_outcome(runs.runs(2), plain()), "run 9c1d77e25a0b SUCCEEDED in 30.0s, flights/2 passed\n");
  EXPECT_EQ(
      render_outcome(runs.runs(3), plain()),
      "run 000000000000 FAILED in 10.0s: train: exited with code 1: column \"size\" is missing second line ?[31mred\n");
}

}  // namespace
}  // namespace freshet::cli
