#include "cli/render/system.h"

#include <algorithm>

#include "cli/render/format.h"

namespace freshet::cli {
namespace {

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

Style style_of_change(const std::string& change) {
  if (change == "created") return Style::kGood;
  return change == "changed" ? Style::kBusy : Style::kDim;
}

std::string condition_text(const v1::TriggerSpec& spec) {
  switch (spec.condition_case()) {
    case v1::TriggerSpec::kNewData: {
      std::string text = "new data in " + spec.new_data().input();
      if (spec.new_data().min_rows() > 0) text += ", at least " + counted(spec.new_data().min_rows()) + " rows";
      if (spec.new_data().min_entries() > 1)
        text += ", at least " + counted(spec.new_data().min_entries()) + " entries";
      return text;
    }
    case v1::TriggerSpec::kNewCommit:
      return "new commit in " + spec.new_commit().source();
    case v1::TriggerSpec::kCron:
      return "cron " + spec.cron().schedule();
    case v1::TriggerSpec::CONDITION_NOT_SET:
      return "";
  }
  return "";
}

Style style_of(v1::EntryRecord::State state) {
  switch (state) {
    case v1::EntryRecord::ACCEPTED:
      return Style::kGood;
    case v1::EntryRecord::QUARANTINED:
      return Style::kBad;
    case v1::EntryRecord::ARRIVED:
      return Style::kBusy;
    default:
      return Style::kDim;
  }
}

// "alias/default/m/champion (was 41), run/.. (new) and 3 more".
std::string changes_text(const v1::AuditView& record) {
  constexpr int kShown = 2;
  std::string text;
  for (int i = 0; i < std::min(record.changes_size(), kShown); ++i) {
    const auto& change = record.changes(i);
    const std::string replaced =
        change.replaced_revision() == 0 ? "new" : "was " + std::to_string(change.replaced_revision());
    text += (i > 0 ? ", " : "") + change.key() + (change.deleted() ? " (deleted, " : " (") + replaced + ")";
  }
  if (record.changes_size() > kShown) text += " and " + std::to_string(record.changes_size() - kShown) + " more";
  return text;
}

Cell liveness_cell(v1::NodeRecord::Liveness liveness) {
  switch (liveness) {
    case v1::NodeRecord::ALIVE:
      return {"ALIVE", Style::kGood};
    case v1::NodeRecord::DEAD:
      return {"DEAD", Style::kBad};
    default:
      return {"UNKNOWN", Style::kBusy};
  }
}

}  // namespace

std::string render_applied(const v1::ApplyResponse& response, bool dry_run, const RenderOptions& options) {
  if (response.documents().empty()) return "nothing to apply\n";
  std::string text;
  for (const auto& document : response.documents()) {
    text += safe_text(lower(document.kind()) + "/" + document.name()) + " ";
    const bool would = dry_run && document.change() != "unchanged";
    text += styled({(would ? "would be " : "") + document.change(), style_of_change(document.change())}, options);
    if (document.version() != 0 && !would) text += " (version " + std::to_string(document.version()) + ")";
    text += "\n";
    for (const auto& difference : document.differences()) text += "  " + safe_text(difference) + "\n";
  }
  return text;
}

std::string render_pipelines(const v1::ListPipelinesResponse& pipelines, const RenderOptions& options) {
  if (pipelines.pipelines().empty()) return "no pipelines\n";
  Table table({"PIPELINE", "VERSION", "MODEL", "INPUTS", "RECIPE", "GATES", "AGE"});
  for (const auto& record : pipelines.pipelines()) {
    const v1::PipelineSpec& spec = record.pipeline().spec();
    std::string inputs;
    for (const auto& input : spec.inputs())
      inputs += (inputs.empty() ? "" : ", ") + input.name() + " of " + input.source();
    table.add({record.pipeline().metadata().name(), std::to_string(record.version()), spec.model(), inputs,
               spec.has_recipe_from() ? spec.recipe_from().path() + " in " + spec.recipe_from().source() : "its own",
               std::to_string(spec.gates_size()), age(record.applied_us(), options.now)});
  }
  return table.render(options);
}

std::string render_sources(const v1::ListSourcesResponse& sources, const RenderOptions& options) {
  if (sources.sources().empty()) return "no sources\n";
  Table table({"SOURCE", "KIND", "STATE", "URI", "HEAD", "ENTRIES", "CHANGED", "MESSAGE"});
  for (const auto& view : sources.sources()) {
    const v1::SourceSpec& spec = view.source().spec();
    table.add({view.source().metadata().name(), spec.has_git() ? "git" : "directory",
               view.status().degraded() ? Cell("degraded", Style::kBad) : Cell("ok", Style::kGood),
               spec.has_git() ? spec.git().uri() + "#" + spec.git().branch() : spec.directory().uri(),
               short_id(view.status().head_commit()), spec.has_git() ? "" : counted(view.status().entries()),
               age(view.status().changed_us(), options.now), view.status().message()});
  }
  return table.render(options);
}

std::string render_triggers(const v1::ListTriggersResponse& triggers, const RenderOptions& options) {
  if (triggers.triggers().empty()) return "no triggers\n";
  Table table({"TRIGGER", "PIPELINE", "STATE", "CONDITION", "FIRED", "LAST", "LAST RUN", "DECISION"});
  for (const auto& view : triggers.triggers()) {
    const v1::TriggerSpec& spec = view.trigger().spec();
    table.add({view.trigger().metadata().name(), spec.pipeline(),
               spec.paused() ? Cell("paused", Style::kDim) : Cell("active", Style::kGood), condition_text(spec),
               std::to_string(view.state().fired()), age(view.state().last_fired_us(), options.now),
               short_id(view.state().last_run_id()), view.state().last_decision()});
  }
  return table.render(options);
}

std::string render_entries(const v1::ListEntriesResponse& entries, const RenderOptions& options) {
  if (entries.entries().empty()) return "no entries\n";
  Table table({"ENTRY", "STATE", "ROWS", "SIZE", "SHA256", "CHAMPION", "AGE", "REASON"});
  for (const auto& record : entries.entries()) {
    const bool is_read = record.has_profile() && record.profile().error().empty();
    table.add({record.entry().uri(),
               {v1::EntryRecord::State_Name(record.state()), style_of(record.state())},
               is_read ? counted(record.profile().rows()) : "",
               bytes_text(record.entry().size()),
               short_id(record.entry().sha256()),
               metrics_text(record.profile().champion_metrics()),
               age(record.arrived_us(), options.now),
               record.reason()});
  }
  return table.render(options);
}

std::string render_nodes(const v1::ListNodesResponse& nodes, const RenderOptions& options) {
  if (nodes.nodes().empty()) return "no nodes\n";
  Table table({"NODE", "STATE", "SLOTS", "USED", "GANGS", "MEMORY", "CPU", "AGENT", "SINCE"});
  for (const auto& view : nodes.nodes()) {
    table.add({view.node().name(), liveness_cell(view.node().liveness()), std::to_string(view.node().slots()),
               std::to_string(view.slots_used()), std::to_string(view.gangs_size()),
               view.node().memory_bytes() == 0 ? "" : bytes_text(view.node().memory_bytes()), view.node().cpu(),
               view.node().agent_version(), age(view.node().changed_us(), options.now)});
  }
  return table.render(options);
}

std::string render_audit(const v1::ListAuditResponse& audit, const RenderOptions& options) {
  if (audit.records().empty()) return "no audit records\n";
  Table table({"REVISION", "TIME", "ACTOR", "ACTION", "CHANGED", "REASON"});
  for (const auto& record : audit.records()) {
    table.add({std::to_string(record.revision()), to_iso8601({record.commit_us()}), record.actor(), record.action(),
               changes_text(record), record.reason()});
  }
  return table.render(options);
}

std::string render_verified(const v1::VerifyAuditResponse& verified, size_t heads) {
  const std::string good = counted(verified.checked()) + " audit records hold";
  if (verified.has_problem()) {
    return "the audit log is broken: " + safe_text(verified.problem().message()) + "\n" + good + " before it\n";
  }
  std::string text = good + ", up to revision " + std::to_string(verified.revision()) + "\n";
  if (heads > 0) text += "the log holds what was kept: " + counted(heads) + (heads == 1 ? " head\n" : " heads\n");
  return text;
}

}  // namespace freshet::cli
