#include "cli/render/runs.h"

#include <algorithm>

#include "cli/render/format.h"
#include "cli/render/models.h"

namespace freshet::cli {
namespace {

constexpr size_t kBarWidth = 24;

// How long the run took, or has taken so far.
std::string run_duration(const v1::Run& run, Time now) {
  return duration_between(run.started_us(), run.finished_us() != 0 ? run.finished_us() : now.us);
}

std::string outputs_text(const google::protobuf::RepeatedPtrField<v1::Output>& outputs) {
  std::string text;
  for (const auto& output : outputs)
    text += (text.empty() ? "" : ", ") + output.name() + " " + short_id(output.digest());
  return text;
}

std::string exit_text(const v1::ExitRecord& exit) {
  std::string text;
  switch (exit.cause()) {
    case v1::ExitRecord::CAUSE_UNSPECIFIED:
      return "";
    case v1::ExitRecord::EXITED:
      text = "code " + std::to_string(exit.code());
      break;
    case v1::ExitRecord::SIGNALLED:
      text = "signal " + std::to_string(exit.signal());
      break;
    default:
      text = v1::ExitRecord::Cause_Name(exit.cause());
      break;
  }
  return exit.message().empty() ? text : text + ": " + exit.message();
}

Style attempt_style(v1::Attempt::State state) {
  switch (state) {
    case v1::Attempt::SUCCEEDED:
      return Style::kGood;
    case v1::Attempt::FAILED:
    case v1::Attempt::LOST:
      return Style::kBad;
    case v1::Attempt::STOPPED:
      return Style::kDim;
    default:
      return Style::kBusy;
  }
}

std::string code_text(const v1::CodeRevision& code) {
  if (code.commit().empty()) return "recipe of the pipeline's own";
  return code.commit() + " " + code.path() + " in " + code.source();
}

std::string input_text(const v1::RunInput& input) {
  return input.name() + ": " + short_id(input.dataset_digest()) + " of " + input.source() + ", " +
         std::to_string(input.holdout_size()) + " held out";
}

std::string section(const std::string& title, const Table& table, const RenderOptions& options) {
  return table.is_empty() ? "" : "\n" + title + "\n" + table.render(options, 2);
}

Table steps_table(const v1::Run& run, Time now) {
  Table table({"NAME", "STATE", "EPOCH", "FAILURES", "TOOK", "OUTPUT", "MESSAGE"});
  for (const auto& step : run.steps()) {
    const uint32_t failures = step.failures() + step.infrastructure_failures();
    const bool has_begun = step.state() != v1::StepStatus::WAITING && step.state() != v1::StepStatus::SKIPPED;
    const int64_t end_us = step.finished_us() != 0 ? step.finished_us() : now.us;
    table.add({step.name(),
               {state_name(step.state()), style_of(step.state())},
               step.epoch() == 0 ? "" : std::to_string(step.epoch()),
               failures == 0 ? "" : std::to_string(failures),
               has_begun ? duration_between(step.ready_us(), end_us) : "",
               outputs_text(step.outputs()),
               step.message()});
  }
  return table;
}

Table attempts_table(const v1::RunView& view, Time now) {
  Table table({"STEP", "EPOCH", "STATE", "NODE", "RANKS", "HELD BY", "PLACED", "RAN", "EXIT"});
  for (const auto& attempt : view.attempts()) {
    const int64_t end_us = attempt.finished_us() != 0 ? attempt.finished_us() : now.us;
    table.add({attempt.work().step(),
               std::to_string(attempt.epoch()),
               {v1::Attempt::State_Name(attempt.state()), attempt_style(attempt.state())},
               attempt.node(),
               std::to_string(attempt.ranks()),
               attempt.containment(),
               to_iso8601({attempt.placed_us()}),
               duration_between(attempt.started_us(), end_us),
               exit_text(attempt.exit())});
  }
  return table;
}

// In the order of time, each with what passed since the one before.
Table timeline_table(const v1::Run& run) {
  std::vector<v1::Milestone> milestones(run.timeline().begin(), run.timeline().end());
  std::stable_sort(milestones.begin(), milestones.end(),
                   [](const auto& a, const auto& b) { return a.time_us() < b.time_us(); });
  Table table({"MILESTONE", "TIME", "AFTER", "SINCE START"});
  for (size_t i = 0; i < milestones.size(); ++i) {
    const int64_t at = milestones[i].time_us();
    table.add({milestones[i].name(), to_iso8601({at}),
               i == 0 ? "" : "+" + duration_text({at - milestones[i - 1].time_us()}),
               i == 0 ? "" : duration_text({at - milestones[0].time_us()})});
  }
  return table;
}

Table metrics_table(const v1::RunView& view) {
  Table table({"NAME", "VALUE", "STEP"});
  for (const auto& sample : view.latest()) {
    table.add({sample.name(), number(sample.value()), std::to_string(sample.step())});
  }
  return table;
}

const v1::StepStatus* step_at_work(const v1::Run& run) {
  const v1::StepStatus* ready = nullptr;
  for (const auto& step : run.steps()) {
    if (step.state() == v1::StepStatus::RUNNING) return &step;
    if (step.state() == v1::StepStatus::READY && ready == nullptr) ready = &step;
  }
  return ready;
}

bool is_train_step(const v1::Run& run, const std::string& name) {
  for (const auto& step : run.recipe().steps()) {
    if (step.name() == name) return step.has_train();
  }
  return false;
}

const v1::MetricSample* find_sample(const v1::RunEvent& event, const std::string& name) {
  for (const auto& sample : event.samples()) {
    if (sample.name() == name) return &sample;
  }
  return nullptr;
}

std::string bar(double share) {
  const auto full = static_cast<size_t>(share * kBarWidth);
  return "[" + std::string(full, '#') + std::string(kBarWidth - full, '.') + "]";
}

std::string train_text(const Progress& progress) {
  std::string text;
  const v1::MetricSample* loss = find_sample(progress.event, "loss");
  const v1::MetricSample* total = find_sample(progress.event, "total_steps");
  const double steps = total != nullptr ? total->value() : static_cast<double>(progress.total_steps);
  const double done = loss != nullptr ? static_cast<double>(loss->step()) : 0;
  if (steps > 0) {
    const double share = std::clamp(done / steps, 0.0, 1.0);
    text += "  " + bar(share) + " " + std::to_string(static_cast<int>(share * 100)) + " %  step " +
            counted(static_cast<uint64_t>(std::max(0.0, done))) + "/" + counted(static_cast<uint64_t>(steps));
  }
  if (loss != nullptr) text += "  loss " + number(loss->value());
  if (const auto* speed = find_sample(progress.event, "examples_per_second")) {
    text += "  " + number(speed->value()) + " examples/s";
  }
  return text;
}

// At most `columns` code points.
std::string cut(const std::string& text, size_t columns) {
  size_t end = 0;
  for (size_t width = 0; end < text.size(); ++end) {
    if ((static_cast<unsigned char>(text[end]) & 0xc0) != 0x80 && ++width > columns) break;
  }
  return text.substr(0, end);
}

// What the replay of each version (or of the run's candidate) found, one line a tensor that differs.
std::string render_replays(const v1::Run& run, const RenderOptions& options) {
  std::string text;
  for (const auto& replay : run.replays()) {
    Details details;
    details.add("Replay of", replay.version().empty() ? "the candidate" : replay.version());
    details.add("Weights", replay.is_equal() ? Cell("equal", Style::kGood) : Cell("different", Style::kBad));
    details.add("Recorded", replay.weights_digest());
    details.add("Replayed", replay.replayed_weights_digest());
    details.add("Numerics",
                numerics_text(replay.numerics()) +
                    (replay.is_same_numerics() ? "" : "; replayed by " + numerics_text(replay.replayed_numerics())));
    details.add("Not compared", replay.not_compared());
    Table table({"TENSOR", "DIFFERENT", "OF", "LARGEST", "RELATIVE"});
    for (const auto& tensor : replay.differences()) {
      table.add({tensor.name(), std::to_string(tensor.different()), std::to_string(tensor.elements()),
                 number(tensor.largest_absolute()), number(tensor.largest_relative())});
    }
    text += "\n" + details.render(options) + (table.is_empty() ? "" : table.render(options, 2));
  }
  return text;
}

}  // namespace

bool is_ended(const v1::Run& run) {
  return run.state() == v1::Run::SUCCEEDED || run.state() == v1::Run::FAILED || run.state() == v1::Run::CANCELLED;
}

std::string render_runs(const v1::ListRunsResponse& runs, const RenderOptions& options) {
  if (runs.runs().empty()) return "no runs\n";
  Table table({"RUN", "PIPELINE", "STATE", "VERDICT", "VERSION", "COMMIT", "CAUSE", "AGE", "TOOK"});
  for (const auto& run : runs.runs()) {
    table.add({short_id(run.id()),
               run.pipeline(),
               {state_name(run.state()), style_of(run.state())},
               verdict_cell(run.verdict()),
               run.model_version(),
               short_id(run.code().commit()),
               run.cause(),
               age(run.created_us(), options.now),
               run_duration(run, options.now)});
  }
  return table.render(options);
}

std::string render_verdict(const v1::Verdict& verdict, const RenderOptions& options) {
  if (verdict.ByteSizeLong() == 0) return "";
  Table table({"GATE", "RESULT", "EXPLANATION"});
  for (const auto& gate : verdict.gates()) {
    table.add({gate.gate().name(), gate.passed() ? Cell("passed", Style::kGood) : Cell("failed", Style::kBad),
               gate.explanation()});
  }
  std::string against = verdict.champion_version().empty() ? "" : " against " + safe_text(verdict.champion_version());
  return "\nVerdict: " + styled(verdict_cell(verdict), options) + against + "\n" +
         (table.is_empty() ? "" : table.render(options, 2));
}

std::string render_run(const v1::RunView& view, const RenderOptions& options) {
  const v1::Run& run = view.run();
  Details details;
  details.add("Run", run.id());
  details.add("Pipeline", run.pipeline() + " (version " + std::to_string(run.pipeline_version()) + ")");
  details.add("State", {state_name(run.state()), style_of(run.state())});
  details.add("Waiting", view.waiting_reason());
  details.add("Message", run.message());
  details.add("Cause", run.cause());
  details.add("Code", code_text(run.code()));
  for (const auto& input : run.inputs()) details.add("Data", input_text(input));
  details.add("Seed", std::to_string(run.seed()));
  details.add("Warm start", run.warm_start_version());
  details.add("Version", run.model_version());
  details.add("Created", moment(run.created_us(), options.now));
  details.add("Started", moment(run.started_us(), options.now));
  details.add("Finished", moment(run.finished_us(), options.now));
  details.add("Took", run_duration(run, options.now));
  return details.render(options) + section("Steps", steps_table(run, options.now), options) +
         section("Attempts", attempts_table(view, options.now), options) +
         section("Timeline", timeline_table(run), options) + section("Metrics", metrics_table(view), options) +
         render_replays(run, options) + render_verdict(run.verdict(), options);
}

std::string render_progress(const Progress& progress, const RenderOptions& options, size_t columns) {
  const v1::Run& run = progress.event.run();
  const v1::StepStatus* step = step_at_work(run);
  std::string text;
  if (step == nullptr) {
    text = state_name(run.state());
  } else if (step->state() == v1::StepStatus::READY) {
    text = step->name() + "  waits for a place";
    if (!progress.waiting_reason.empty()) text += ": " + progress.waiting_reason;
  } else {
    text = step->name() + (is_train_step(run, step->name()) ? train_text(progress) : "  running");
  }
  const int64_t begin = step != nullptr && step->ready_us() != 0 ? step->ready_us() : run.created_us();
  text += "  " + duration_between(begin, options.now.us);
  return cut(safe_text(text), columns);
}

std::vector<std::string> step_changes(const v1::Run& before, const v1::Run& after) {
  std::vector<std::string> lines;
  for (int i = 0; i < after.steps_size(); ++i) {
    const v1::StepStatus& step = after.steps(i);
    const bool same =
        i < before.steps_size() && before.steps(i).state() == step.state() && before.steps(i).epoch() == step.epoch();
    if (same || step.state() == v1::StepStatus::WAITING) continue;
    std::string line = step.name() + ": " + state_name(step.state());
    if (step.epoch() > 1) line += " (try " + std::to_string(step.epoch()) + ")";
    if (!step.message().empty()) line += ": " + step.message();
    lines.push_back(safe_text(line));
  }
  return lines;
}

std::string render_outcome(const v1::Run& run, const RenderOptions& options) {
  std::string text =
      "run " + short_id(run.id()) + " " + styled({state_name(run.state()), style_of(run.state())}, options);
  const std::string took = run_duration(run, options.now);
  if (!took.empty()) text += " in " + took;
  if (!run.model_version().empty()) text += ", " + safe_text(run.model_version());
  const Cell verdict = verdict_cell(run.verdict());
  // The message of a refused run names the gate with its numbers.
  if (run.verdict().passed() || run.message().empty()) {
    if (!verdict.text.empty()) text += " " + styled(verdict, options);
  }
  if (!run.message().empty()) text += ": " + safe_text(run.message());
  return text + "\n";
}

}  // namespace freshet::cli
