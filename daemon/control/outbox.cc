#include "daemon/control/outbox.h"

#include <algorithm>

#include "daemon/control/work.h"
#include "daemon/store/tables.h"
#include "proto/json.h"

namespace freshet::control {

void add_event(Context& context, Change* change, v1::Event* event) {
  event->set_id(new_id(context.random));
  event->set_time_us(context.clock.now().us);
  change->events.push_back(serialize(*event));
}

void add_run_finished(Context& context, Change* change, const v1::Run& run) {
  v1::Event event;
  event.set_type(kRunFinished);
  event.set_project(run.project());
  event.set_pipeline(run.pipeline());
  event.set_subject("runs/" + run.id());
  event.mutable_data()->set_run_id(run.id());
  event.mutable_data()->set_state(v1::Run::State_Name(run.state()));
  event.mutable_data()->set_message(run.message());
  add_event(context, change, &event);
}

void add_alias_moved(Context& context, Change* change, const v1::Alias& alias, const std::string& pipeline) {
  v1::Event event;
  event.set_type(kAliasMoved);
  event.set_project(alias.project());
  event.set_pipeline(pipeline);
  event.set_subject("models/" + alias.model() + "@" + alias.alias());
  v1::EventData* data = event.mutable_data();
  data->set_model(alias.model());
  data->set_alias(alias.alias());
  data->set_version(alias.version());
  data->set_previous_version(alias.previous_version());
  data->set_actor(alias.actor());
  data->set_reason(alias.reason());
  add_event(context, change, &event);
}

void add_version_created(Context& context, Change* change, const v1::ModelVersion& version) {
  v1::Event event;
  event.set_type(kVersionCreated);
  event.set_project(version.project());
  event.set_pipeline(version.pipeline());
  event.set_subject("models/" + version_name(version.model(), version.version()));
  v1::EventData* data = event.mutable_data();
  data->set_model(version.model());
  data->set_version(version.version());
  data->set_run_id(version.run_id());
  add_event(context, change, &event);
  for (const auto& gate : version.verdict().gates()) {
    if (gate.passed()) continue;
    event.set_type(kGateRefused);
    data->set_gate(gate.gate().name());
    data->set_reason(gate.explanation());
    add_event(context, change, &event);
    return;
  }
}

void add_source_turned(Context& context, Change* change, bool was_degraded, const v1::SourceStatus& status) {
  if (was_degraded == status.degraded()) return;
  v1::Event event;
  event.set_type(status.degraded() ? kSourceDegraded : kSourceRecovered);
  event.set_project(status.project());
  event.set_subject("sources/" + status.name());
  event.mutable_data()->set_source(status.name());
  event.mutable_data()->set_message(status.message());
  add_event(context, change, &event);
}

void add_node_lost(Context& context, Change* change, const v1::NodeRecord& node, const std::string& reason) {
  v1::Event event;
  event.set_type(kNodeLost);
  event.set_subject("nodes/" + node.name());
  event.mutable_data()->set_node(node.name());
  event.mutable_data()->set_reason(reason);
  add_event(context, change, &event);
}

bool wants(const v1::Webhook& webhook, const v1::Event& event) {
  auto names = [](const auto& list, const std::string& name) {
    return list.empty() || std::find(list.begin(), list.end(), name) != list.end();
  };
  if (webhook.spec().disabled()) return false;
  // A node belongs to no project.
  if (!event.project().empty() && webhook.metadata().project() != event.project()) return false;
  if (!event.webhook().empty()) return event.webhook() == webhook.metadata().name();
  return names(webhook.spec().events(), event.type()) && names(webhook.spec().pipelines(), event.pipeline());
}

std::string cloud_event(const v1::Event& event) {
  v1::CloudEvent body;
  body.set_specversion("1.0");
  body.set_id(event.id());
  body.set_source("/freshet" + (event.project().empty() ? "" : "/projects/" + event.project()));
  body.set_type("freshet." + event.type());
  body.set_subject(event.subject());
  body.set_time(to_iso8601(Time{event.time_us()}));
  body.set_datacontenttype("application/json");
  *body.mutable_data() = event.data();
  return to_json(body);
}

}  // namespace freshet::control
