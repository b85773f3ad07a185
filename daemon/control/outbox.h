// The outbox: events for the world outside, added to the change that causes them, so that one is stored if and only if
// its cause is. The writer numbers them by the commit's revision, which gives all webhooks one order. Pure functions.
#pragma once

#include <string>

#include "daemon/control/context.h"
#include "proto/events.h"
#include "proto/model.pb.h"
#include "proto/node.pb.h"
#include "proto/record.pb.h"
#include "proto/run.pb.h"
#include "proto/webhook.pb.h"

namespace freshet::control {

// Gives the event its id and time and adds it to the change.
void add_event(Context& context, Change* change, v1::Event* event);

// The run has reached a final state.
void add_run_finished(Context& context, Change* change, const v1::Run& run);
void add_alias_moved(Context& context, Change* change, const v1::Alias& alias, const std::string& pipeline);
// version.created, and gate.refused when a gate refused it.
void add_version_created(Context& context, Change* change, const v1::ModelVersion& version);
// source.degraded or source.recovered, when it became the one or the other.
void add_source_turned(Context& context, Change* change, bool was_degraded, const v1::SourceStatus& status);
void add_node_lost(Context& context, Change* change, const v1::NodeRecord& node, const std::string& reason);

// Whether the webhook is to be told.
bool wants(const v1::Webhook& webhook, const v1::Event& event);

// What is sent: CloudEvents 1.0 in structured mode, all of it in the body, so that one signature covers all of it.
std::string cloud_event(const v1::Event& event);

}  // namespace freshet::control
