#include "daemon/control/pipeline_service.h"

#include <google/protobuf/util/message_differencer.h>

#include <set>
#include <sstream>

#include "base/crash_point.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/defaults.h"
#include "proto/digest.h"
#include "proto/record.pb.h"
#include "proto/validate.h"
#include "scheduler/cron.h"

namespace freshet::control {
namespace {

// One line a difference: "modified: spec.seed: 1 -> 2".
std::vector<std::string> differences(const google::protobuf::Message& before, const google::protobuf::Message& after) {
  std::string text;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&text);
  differencer.Compare(before, after);
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// Writes one applied document when it differs from what is stored. `Stored` is its record, `document_of` reaches the
// document inside, `store` fills the record for a change and returns the version to report.
template <class Stored, class Document, class Store>
Status apply_document(const Snapshot& snapshot, const std::string& key, const std::string& kind,
                      const Document& document, const Document& (Stored::*document_of)() const, Store store,
                      Change* change, v1::ApplyResponse* response) {
  ASSIGN_OR_RETURN(auto stored, get<Stored>(snapshot, key));
  auto* applied = response->add_documents();
  applied->set_kind(kind);
  applied->set_name(document.metadata().name());
  Stored record;
  if (stored) record = stored->value;
  std::vector<std::string> changes;
  if (stored) changes = differences((stored->value.*document_of)(), document);
  expect(*change, key, stored ? stored->revision : 0);
  if (stored && changes.empty()) {
    applied->set_change("unchanged");
    store(&record, applied, false);
    return Status::ok();
  }
  applied->set_change(stored ? "changed" : "created");
  for (auto& line : changes) applied->add_differences(std::move(line));
  store(&record, applied, true);
  put(*change, key, record);
  return Status::ok();
}

template <class Documents>
Status check_unique(const Documents& documents, const std::string& kind) {
  std::set<std::pair<std::string, std::string>> seen;
  for (const auto& document : documents) {
    if (seen.insert({document.metadata().project(), document.metadata().name()}).second) continue;
    return invalid_argument(kind + " " + document.metadata().name() + " is given twice in one request");
  }
  return Status::ok();
}

template <class Record, class Documents>
Status check_exists(const Snapshot& snapshot, const std::string& key, const std::string& project,
                    const std::string& name, const Documents& applied, const std::string& user,
                    const std::string& kind) {
  for (const auto& document : applied) {
    if (document.metadata().project() == project && document.metadata().name() == name) return Status::ok();
  }
  ASSIGN_OR_RETURN(auto stored, get<Record>(snapshot, key));
  if (stored) return Status::ok();
  return invalid_argument(user + " names " + kind + " " + name +
                          ", which does not exist; apply it first or in the same request");
}

Status check_references(const Snapshot& snapshot, const v1::ApplyRequest& request) {
  for (const auto& pipeline : request.pipelines()) {
    const std::string& project = pipeline.metadata().project();
    std::vector<std::string> sources;
    for (const auto& input : pipeline.spec().inputs()) sources.push_back(input.source());
    if (pipeline.spec().has_recipe_from()) sources.push_back(pipeline.spec().recipe_from().source());
    for (const auto& source : sources) {
      RETURN_IF_ERROR(check_exists<v1::SourceRecord>(snapshot, keys::source(project, source), project, source,
                                                     request.sources(), "pipeline " + pipeline.metadata().name(),
                                                     "source"));
    }
  }
  for (const auto& trigger : request.triggers()) {
    const std::string& project = trigger.metadata().project();
    const std::string user = "trigger " + trigger.metadata().name();
    RETURN_IF_ERROR(check_exists<v1::PipelineRecord>(snapshot, keys::pipeline(project, trigger.spec().pipeline()),
                                                     project, trigger.spec().pipeline(), request.pipelines(), user,
                                                     "pipeline"));
    if (trigger.spec().has_new_commit()) {
      const std::string& source = trigger.spec().new_commit().source();
      RETURN_IF_ERROR(check_exists<v1::SourceRecord>(snapshot, keys::source(project, source), project, source,
                                                     request.sources(), user, "source"));
    }
    if (trigger.spec().has_cron()) {
      RETURN_IF_ERROR(scheduler::CronSchedule::parse(trigger.spec().cron().schedule()).status().with_context(user));
    }
  }
  return Status::ok();
}

}  // namespace

Result<v1::ApplyResponse> PipelineService::apply(const Caller& caller, v1::ApplyRequest request, bool dry_run) {
  if (!dry_run) RETURN_IF_ERROR(context_.admit());
  for (auto& pipeline : *request.mutable_pipelines()) {
    apply_defaults(&pipeline);
    RETURN_IF_ERROR(validate(pipeline).with_context("pipeline " + pipeline.metadata().name()));
  }
  for (auto& source : *request.mutable_sources()) {
    apply_defaults(&source);
    RETURN_IF_ERROR(validate(source).with_context("source " + source.metadata().name()));
  }
  for (auto& trigger : *request.mutable_triggers()) {
    apply_defaults(&trigger);
    RETURN_IF_ERROR(validate(trigger).with_context("trigger " + trigger.metadata().name()));
  }
  for (auto& webhook : *request.mutable_webhooks()) {
    apply_defaults(&webhook);
    RETURN_IF_ERROR(validate(webhook).with_context("webhook " + webhook.metadata().name()));
  }
  RETURN_IF_ERROR(check_unique(request.pipelines(), "pipeline"));
  RETURN_IF_ERROR(check_unique(request.sources(), "source"));
  RETURN_IF_ERROR(check_unique(request.triggers(), "trigger"));
  RETURN_IF_ERROR(check_unique(request.webhooks(), "webhook"));

  auto snapshot = context_.store.snapshot();
  RETURN_IF_ERROR(check_references(*snapshot, request));
  const int64_t now_us = context_.clock.now().us;
  Change change;
  change.action = "apply";
  v1::ApplyResponse response;
  auto sign = [&](auto* record) {
    record->set_applied_us(now_us);
    record->set_actor(caller.name);
    record->set_reason(request.reason());
  };

  const std::string counter_key = keys::counter("pipeline");
  ASSIGN_OR_RETURN(auto counter, get<v1::Counter>(*snapshot, counter_key));
  v1::Counter ids;
  if (counter) ids = counter->value;
  const uint64_t first_id = ids.value();
  for (const auto& pipeline : request.pipelines()) {
    const std::string& project = pipeline.metadata().project();
    const std::string& name = pipeline.metadata().name();
    auto store = [&](v1::PipelineRecord* record, v1::AppliedDocument* applied, bool changed) {
      if (changed) {
        if (record->id() == 0) {
          ids.set_value(ids.value() + 1);
          record->set_id(ids.value());
        }
        record->set_version(record->version() + 1);
        sign(record);
        *record->mutable_pipeline() = pipeline;
        record->set_spec_digest(message_digest(pipeline.spec()));
        create(change, keys::pipeline_version(project, name, record->version()), *record);
      }
      applied->set_version(record->version());
    };
    RETURN_IF_ERROR(apply_document(*snapshot, keys::pipeline(project, name), "Pipeline", pipeline,
                                   &v1::PipelineRecord::pipeline, store, &change, &response));
  }
  if (ids.value() != first_id) {
    expect(change, counter_key, counter ? counter->revision : 0);
    put(change, counter_key, ids);
  }
  for (const auto& source : request.sources()) {
    auto store = [&](v1::SourceRecord* record, v1::AppliedDocument*, bool) {
      *record->mutable_source() = source;
      sign(record);
    };
    RETURN_IF_ERROR(apply_document(*snapshot, keys::source(source.metadata().project(), source.metadata().name()),
                                   "Source", source, &v1::SourceRecord::source, store, &change, &response));
  }
  for (const auto& trigger : request.triggers()) {
    auto store = [&](v1::TriggerRecord* record, v1::AppliedDocument*, bool) {
      *record->mutable_trigger() = trigger;
      sign(record);
    };
    RETURN_IF_ERROR(apply_document(*snapshot, keys::trigger(trigger.metadata().project(), trigger.metadata().name()),
                                   "Trigger", trigger, &v1::TriggerRecord::trigger, store, &change, &response));
  }
  for (const auto& webhook : request.webhooks()) {
    const std::string& project = webhook.metadata().project();
    const std::string& name = webhook.metadata().name();
    auto store = [&](v1::WebhookRecord* record, v1::AppliedDocument* applied, bool) {
      *record->mutable_webhook() = webhook;
      record->set_applied_us(now_us);
      if (applied->change() != "created") return;
      // It is told of what is committed from now on.
      v1::WebhookState state;
      state.set_project(project);
      state.set_name(name);
      state.set_cursor(keys::outbox_event(snapshot->revision(), UINT64_MAX));
      create(change, keys::webhook_state(project, name), state);
    };
    RETURN_IF_ERROR(apply_document(*snapshot, keys::webhook(project, name), "Webhook", webhook,
                                   &v1::WebhookRecord::webhook, store, &change, &response));
  }
  if (dry_run) return response;
  std::string what;
  for (const auto& applied : response.documents()) {
    if (applied.change() == "unchanged") continue;
    what += (what.empty() ? "" : ", ") + applied.kind() + " " + applied.name() + " " + applied.change();
  }
  change.reason = request.reason().empty() ? what : request.reason() + " (" + what + ")";
  CRASH_POINT("apply.documents.before_commit");
  RETURN_IF_ERROR(commit_answered(context_, std::move(change), caller, response));
  CRASH_POINT("apply.documents.after_commit");
  return response;
}

Result<v1::ListPipelinesResponse> PipelineService::list_pipelines(const std::string& project, const PageRequest& page) {
  const std::string prefix = keys::pipelines(project);
  ASSIGN_OR_RETURN(uint32_t size, page_size(page, prefix));
  ASSIGN_OR_RETURN(auto records, list<v1::PipelineRecord>(*context_.store.snapshot(), prefix, page.token, size + 1));
  v1::ListPipelinesResponse response;
  response.set_next_page_token(cut_page(&records, size));
  for (auto& record : records) *response.add_pipelines() = std::move(record.value);
  return response;
}

Result<v1::PipelineRecord> PipelineService::get_pipeline(const std::string& project, const std::string& name) {
  ASSIGN_OR_RETURN(auto record, require<v1::PipelineRecord>(*context_.store.snapshot(), keys::pipeline(project, name),
                                                            "pipeline " + name));
  return std::move(record.value);
}

Result<v1::ListSourcesResponse> PipelineService::list_sources(const std::string& project, const PageRequest& page) {
  const std::string prefix = keys::sources(project);
  ASSIGN_OR_RETURN(uint32_t size, page_size(page, prefix));
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto records, list<v1::SourceRecord>(*snapshot, prefix, page.token, size + 1));
  v1::ListSourcesResponse response;
  response.set_next_page_token(cut_page(&records, size));
  for (auto& record : records) {
    auto* view = response.add_sources();
    *view->mutable_source() = record.value.source();
    ASSIGN_OR_RETURN(
        auto status,
        get<v1::SourceStatus>(*snapshot, keys::source_status(project, record.value.source().metadata().name())));
    if (status) *view->mutable_status() = status->value;
  }
  return response;
}

Result<v1::ListTriggersResponse> PipelineService::list_triggers(const std::string& project, const PageRequest& page) {
  const std::string prefix = keys::triggers(project);
  ASSIGN_OR_RETURN(uint32_t size, page_size(page, prefix));
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto records, list<v1::TriggerRecord>(*snapshot, prefix, page.token, size + 1));
  v1::ListTriggersResponse response;
  response.set_next_page_token(cut_page(&records, size));
  for (auto& record : records) {
    auto* view = response.add_triggers();
    *view->mutable_trigger() = record.value.trigger();
    ASSIGN_OR_RETURN(
        auto state,
        get<v1::TriggerState>(*snapshot, keys::trigger_state(project, record.value.trigger().metadata().name())));
    if (state) *view->mutable_state() = state->value;
  }
  return response;
}

Result<v1::TriggerView> PipelineService::set_paused(const Caller& caller, const std::string& project,
                                                    const std::string& name, bool paused, const std::string& reason) {
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto record, require<v1::TriggerRecord>(*snapshot, keys::trigger(project, name), "trigger " + name));
  Change change;
  if (record.value.trigger().spec().paused() != paused) {
    record.value.mutable_trigger()->mutable_spec()->set_paused(paused);
    record.value.set_actor(caller.name);
    record.value.set_reason(reason);
    change.action = (paused ? "pause trigger " : "resume trigger ") + name;
    change.reason = reason.empty() ? (paused ? "paused by " : "resumed by ") + caller.name : reason;
    update(change, record);
  }
  v1::TriggerView view;
  *view.mutable_trigger() = record.value.trigger();
  ASSIGN_OR_RETURN(auto state, get<v1::TriggerState>(*snapshot, keys::trigger_state(project, name)));
  if (state) *view.mutable_state() = state->value;
  CRASH_POINT("trigger.pause.before_commit");
  RETURN_IF_ERROR(commit_answered(context_, std::move(change), caller, view));
  CRASH_POINT("trigger.pause.after_commit");
  return view;
}

}  // namespace freshet::control
