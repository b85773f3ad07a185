#include "daemon/control/control_metrics.h"

#include <algorithm>
#include <map>
#include <set>

#include "daemon/control/queue.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "proto/webhook.pb.h"

namespace freshet::control {
namespace {

using Labels = std::vector<prometheus::ClientMetric::Label>;

class Families {
 public:
  void gauge(const std::string& name, const std::string& help, const Labels& labels, double value) {
    prometheus::ClientMetric metric;
    metric.label = labels;
    metric.gauge.value = value;
    family(name, help, prometheus::MetricType::Gauge).metric.push_back(metric);
  }
  void counter(const std::string& name, const std::string& help, const Labels& labels, double value) {
    prometheus::ClientMetric metric;
    metric.label = labels;
    metric.counter.value = value;
    family(name, help, prometheus::MetricType::Counter).metric.push_back(metric);
  }
  std::vector<prometheus::MetricFamily> take() { return std::move(families_); }

 private:
  prometheus::MetricFamily& family(const std::string& name, const std::string& help, prometheus::MetricType type) {
    for (auto& known : families_) {
      if (known.name == name) return known;
    }
    auto& added = families_.emplace_back();
    added.name = name;
    added.help = help;
    added.type = type;
    return added;
  }
  std::vector<prometheus::MetricFamily> families_;
};

// The training metrics a pipeline shows for its newest live run.
struct RunMetric {
  const char* sample;
  const char* name;
  const char* help;
};
constexpr RunMetric kRunMetrics[] = {
    {"loss", "freshet_run_loss", "Training loss of the pipeline's newest live run."},
    {"examples_per_second", "freshet_run_examples_per_second", "Training rows per second of the newest live run."},
    {"step_seconds", "freshet_run_step_seconds", "Duration of an optimizer step of the newest live run."},
    {"gradient_norm", "freshet_run_gradient_norm", "Global gradient norm of the newest live run."},
    {"learning_rate", "freshet_run_learning_rate", "Learning rate of the newest live run."},
};

Status add_run_counts(const Snapshot& snapshot, Families* families) {
  std::map<std::string, uint64_t> by_state;
  ASSIGN_OR_RETURN(auto counts, list<v1::Counter>(snapshot, keys::count(keys::runs_by_state())));
  for (const auto& count : counts) {
    // Its key ends in "<state>/".
    by_state[keys::last_part(std::string_view(count.key).substr(0, count.key.size() - 1))] += count.value.value();
  }
  for (const char* state : {"QUEUED", "RUNNING"}) {
    families->gauge("freshet_runs", "Runs that have not ended, by state.", {{"state", state}},
                    static_cast<double>(by_state[state]));
  }
  return Status::ok();
}

// The curves of the pipeline's newest live run.
Status add_live_run(const Snapshot& snapshot, const v1::Metadata& pipeline, Families* families) {
  const std::string live =
      keys::runs_by_pipeline_state(pipeline.project(), pipeline.name(), v1::Run::State_Name(v1::Run::RUNNING));
  ASSIGN_OR_RETURN(auto newest, list_references(snapshot, live, "", 1, true));
  if (newest.empty()) return Status::ok();
  const std::string run_id = keys::last_part(newest[0].target);
  ASSIGN_OR_RETURN(auto latest, get<v1::MetricHistory>(snapshot, keys::latest_metrics(pipeline.project(), run_id)));
  if (!latest) return Status::ok();
  for (const auto& metric : kRunMetrics) {
    for (const auto& sample : latest->value.samples()) {
      if (sample.name() != metric.sample) continue;
      families->gauge(metric.name, metric.help, {{"pipeline", pipeline.name()}}, sample.value());
    }
  }
  return Status::ok();
}

Status add_runs(const Snapshot& snapshot, Families* families) {
  RETURN_IF_ERROR(add_run_counts(snapshot, families));
  ASSIGN_OR_RETURN(auto pipelines, list<v1::PipelineRecord>(snapshot, keys::pipelines()));
  for (const auto& pipeline : pipelines) {
    RETURN_IF_ERROR(add_live_run(snapshot, pipeline.value.pipeline().metadata(), families));
  }
  return Status::ok();
}

Status add_queue(const Snapshot& snapshot, Families* families) {
  ASSIGN_OR_RETURN(auto scheduling, scheduling_snapshot(snapshot));
  ASSIGN_OR_RETURN(uint64_t waiting, queue_length(snapshot));
  families->gauge("freshet_queue_waiting", "Steps and inspections that wait for a place.", {},
                  static_cast<double>(waiting));
  double slots = 0, used = 0;
  for (const auto& node : scheduling.nodes) {
    if (node.placeable) slots += node.slots;
    used += node.slots_used;
  }
  families->gauge("freshet_slots", "CPU slots of the nodes that are alive.", {}, slots);
  families->gauge("freshet_slots_used", "CPU slots given to attempts.", {}, used);
  std::map<std::string, uint64_t> by_liveness;
  ASSIGN_OR_RETURN(auto nodes, list<v1::NodeRecord>(snapshot, keys::nodes()));
  for (const auto& node : nodes) ++by_liveness[v1::NodeRecord::Liveness_Name(node.value.liveness())];
  for (const char* liveness : {"ALIVE", "UNKNOWN", "DEAD"}) {
    families->gauge("freshet_nodes", "Nodes by liveness.", {{"liveness", liveness}},
                    static_cast<double>(by_liveness[liveness]));
  }
  return Status::ok();
}

Status add_triggers_and_sources(const Snapshot& snapshot, Families* families) {
  ASSIGN_OR_RETURN(auto triggers, list<v1::TriggerRecord>(snapshot, keys::triggers()));
  for (const auto& trigger : triggers) {
    const auto& metadata = trigger.value.trigger().metadata();
    ASSIGN_OR_RETURN(auto state,
                     get<v1::TriggerState>(snapshot, keys::trigger_state(metadata.project(), metadata.name())));
    families->counter("freshet_trigger_fired_total", "Runs that the trigger has created.",
                      {{"trigger", metadata.name()}}, state ? static_cast<double>(state->value.fired()) : 0);
  }
  ASSIGN_OR_RETURN(auto sources, list<v1::SourceRecord>(snapshot, keys::sources()));
  for (const auto& source : sources) {
    const auto& metadata = source.value.source().metadata();
    ASSIGN_OR_RETURN(auto status,
                     get<v1::SourceStatus>(snapshot, keys::source_status(metadata.project(), metadata.name())));
    families->gauge("freshet_source_degraded", "1 while the source can't be read.", {{"source", metadata.name()}},
                    status && status->value.degraded() ? 1 : 0);
  }
  return Status::ok();
}

Status add_entries(const Snapshot& snapshot, Families* families) {
  ASSIGN_OR_RETURN(auto pipelines, list<v1::PipelineRecord>(snapshot, keys::pipelines()));
  for (const auto& pipeline : pipelines) {
    const auto& metadata = pipeline.value.pipeline().metadata();
    for (const auto& input : pipeline.value.pipeline().spec().inputs()) {
      std::map<v1::EntryRecord::State, uint64_t> by_state;
      ASSIGN_OR_RETURN(auto entries, list<v1::EntryRecord>(
                                         snapshot, keys::entries(metadata.project(), metadata.name(), input.name())));
      for (const auto& entry : entries) ++by_state[entry.value.state()];
      for (auto state : {v1::EntryRecord::ARRIVED, v1::EntryRecord::ACCEPTED, v1::EntryRecord::QUARANTINED,
                         v1::EntryRecord::DISCARDED}) {
        families->gauge(
            "freshet_entries", "Entries of a pipeline's input, by state.",
            {{"pipeline", metadata.name()}, {"input", input.name()}, {"state", v1::EntryRecord::State_Name(state)}},
            static_cast<double>(by_state[state]));
      }
    }
  }
  return Status::ok();
}

Status add_models(const Snapshot& snapshot, Families* families) {
  std::set<std::string> projects;
  ASSIGN_OR_RETURN(auto pipelines, list<v1::PipelineRecord>(snapshot, keys::pipelines()));
  for (const auto& pipeline : pipelines) projects.insert(pipeline.value.pipeline().metadata().project());
  for (const auto& project : projects) {
    ASSIGN_OR_RETURN(auto models, list<v1::Model>(snapshot, keys::models(project)));
    for (const auto& model : models) {
      const std::string& name = model.value.name();
      ASSIGN_OR_RETURN(auto versions, list<v1::ModelVersion>(snapshot, keys::model_versions(project, name)));
      uint64_t refused = 0;
      for (const auto& version : versions) refused += version.value.verdict().passed() ? 0 : 1;
      ASSIGN_OR_RETURN(auto moves, list<v1::AliasMove>(snapshot, keys::alias_moves(project, name)));
      const Labels labels = {{"model", name}};
      families->counter("freshet_model_versions_total", "Candidates registered as versions.", labels,
                        static_cast<double>(versions.size()));
      families->counter("freshet_gate_refusals_total", "Candidates that a gate refused.", labels,
                        static_cast<double>(refused));
      families->counter("freshet_promotions_total", "Moves of the model's aliases.", labels,
                        static_cast<double>(moves.size()));
    }
  }
  return Status::ok();
}

Status add_webhooks(const Snapshot& snapshot, Time now, Families* families) {
  ASSIGN_OR_RETURN(auto events, list<v1::Event>(snapshot, keys::outbox()));
  families->gauge("freshet_outbox_pending", "Events that some webhook has still to be told.", {},
                  static_cast<double>(events.size()));
  const double age = events.empty() ? 0 : (now - Time{events.front().value.time_us()}).to_seconds();
  families->gauge("freshet_outbox_oldest_age_seconds", "Age of the oldest of them.", {}, std::max(age, 0.0));
  ASSIGN_OR_RETURN(auto webhooks, list<v1::WebhookRecord>(snapshot, keys::webhooks()));
  for (const auto& webhook : webhooks) {
    const auto& metadata = webhook.value.webhook().metadata();
    ASSIGN_OR_RETURN(auto state,
                     get<v1::WebhookState>(snapshot, keys::webhook_state(metadata.project(), metadata.name())));
    if (!state) continue;
    const std::pair<const char*, uint64_t> outcomes[] = {
        {"delivered", state->value.delivered()}, {"failed", state->value.failed()}, {"dead", state->value.dead()}};
    for (const auto& [outcome, count] : outcomes) {
      families->counter("freshet_webhook_deliveries_total",
                        "Attempts that were accepted or failed, and events given up.",
                        {{"webhook", metadata.name()}, {"outcome", outcome}}, static_cast<double>(count));
    }
  }
  return Status::ok();
}

Status add_artifacts(const Snapshot& snapshot, Families* families) {
  ASSIGN_OR_RETURN(auto round, get<v1::GcRoundRecord>(snapshot, keys::gc_round()));
  const v1::GcRoundRecord last = round ? std::move(round->value) : v1::GcRoundRecord();
  families->gauge("freshet_gc_last_round_timestamp_seconds",
                  "When garbage collection last came to its end; 0: it never did.", {},
                  static_cast<double>(last.ended_us()) / 1e6);
  families->gauge("freshet_artifacts", "Artifacts that it left.", {}, static_cast<double>(last.artifacts()));
  families->gauge("freshet_artifact_bytes", "Bytes of their files, each counted for every artifact that has it.", {},
                  static_cast<double>(last.bytes()));
  ASSIGN_OR_RETURN(auto gone, get<v1::Counter>(snapshot, keys::counter("gc_artifacts")));
  ASSIGN_OR_RETURN(auto gone_bytes, get<v1::Counter>(snapshot, keys::counter("gc_bytes")));
  families->counter("freshet_gc_collected_artifacts_total", "Artifacts that garbage collection took.", {},
                    gone ? static_cast<double>(gone->value.value()) : 0);
  families->counter("freshet_gc_collected_bytes_total", "Bytes of the artifacts that it took.", {},
                    gone_bytes ? static_cast<double>(gone_bytes->value.value()) : 0);
  return Status::ok();
}

}  // namespace

Result<std::vector<prometheus::MetricFamily>> collect_metrics(const Context& context) {
  auto snapshot = context.store.snapshot();
  Families families;
  families.gauge("freshet_build_info", "1, with the daemon's version.", {{"version", context.version}}, 1);
  families.gauge("freshet_store_revision", "Revision of the newest commit.", {},
                 static_cast<double>(snapshot->revision()));
  families.gauge("freshet_daemon_term", "How often the daemon has started on this data directory.", {},
                 static_cast<double>(context.term));
  if (context.disk != nullptr) {
    ASSIGN_OR_RETURN(uint64_t free, context.disk->free_bytes());
    families.gauge("freshet_store_free_bytes", "Free space for the daemon's files.", {}, static_cast<double>(free));
    families.gauge("freshet_disk_full", "1 while new work is refused for lack of space.", {},
                   context.disk->admit().is_ok() ? 0 : 1);
  }
  RETURN_IF_ERROR(add_runs(*snapshot, &families));
  RETURN_IF_ERROR(add_queue(*snapshot, &families));
  RETURN_IF_ERROR(add_triggers_and_sources(*snapshot, &families));
  RETURN_IF_ERROR(add_entries(*snapshot, &families));
  RETURN_IF_ERROR(add_models(*snapshot, &families));
  RETURN_IF_ERROR(add_webhooks(*snapshot, context.clock.now(), &families));
  RETURN_IF_ERROR(add_artifacts(*snapshot, &families));
  return families.take();
}

}  // namespace freshet::control
