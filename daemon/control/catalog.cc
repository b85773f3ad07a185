#include "daemon/control/catalog.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/crash_point.h"
#include "base/log.h"
#include "daemon/control/outbox.h"
#include "daemon/control/promotion.h"
#include "daemon/control/recipes.h"
#include "daemon/control/run_factory.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/digest.h"
#include "proto/recipe_steps.h"
#include "scheduler/validation.h"

namespace freshet::control {
namespace {

constexpr Duration kRetry = Duration::seconds(1);

v1::DatasetEntry entry_of(const ObservedFile& file) {
  v1::DatasetEntry entry;
  entry.set_uri(file.uri);
  entry.set_size(file.size);
  entry.set_sha256(file.sha256);
  return entry;
}

}  // namespace

Time CatalogReconciler::reconcile(Time now) {
  auto snapshot = context_.store.snapshot();
  Status status = watch_sources(*snapshot);
  bool failed = false;
  auto note = [&](const Status& result, const std::string& what) {
    if (result.is_ok() || result.code() == Code::kConflict) return;
    log_warning("catalog", what + ": " + result.to_string());
    failed = true;
  };
  note(status, "sources");

  auto sources = list<v1::SourceRecord>(*snapshot, keys::sources());
  note(sources.status(), "sources");
  if (sources.is_ok()) {
    for (const auto& source : *sources) {
      note(record_source_status(*snapshot, source.value, now), source.value.source().metadata().name());
    }
  }
  // What is new stays in its source until there is room for its records; the disk's loop wakes this one.
  const bool has_room = context_.admit().is_ok();
  auto pipelines = list<v1::PipelineRecord>(*snapshot, keys::pipelines());
  note(pipelines.status(), "pipelines");
  if (pipelines.is_ok() && has_room) {
    for (const auto& pipeline : *pipelines) {
      const std::string& name = pipeline.value.pipeline().metadata().name();
      note(adopt_recipe(*snapshot, pipeline.value), name);
      for (const auto& input : pipeline.value.pipeline().spec().inputs()) {
        note(record_entries(*snapshot, pipeline.value, input, now), name + "/" + input.name());
      }
    }
    // A fresh look: what was just recorded can be inspected at once.
    snapshot = context_.store.snapshot();
    for (const auto& pipeline : *pipelines) {
      for (const auto& input : pipeline.value.pipeline().spec().inputs()) {
        note(start_inspection(*snapshot, pipeline.value, input, now), "inspection of " + input.name());
      }
    }
  }
  auto pending = pending_inspections(*snapshot);
  note(pending.status(), "inspections");
  if (pending.is_ok()) {
    for (const auto& inspection : *pending) {
      note(judge_inspection(*snapshot, inspection, now), "inspection " + inspection.value.id());
    }
  }
  return failed ? now + kRetry : Time::never();
}

Status CatalogReconciler::watch_sources(const Snapshot& snapshot) {
  ASSIGN_OR_RETURN(auto records, list<v1::SourceRecord>(snapshot, keys::sources()));
  std::vector<v1::Source> sources;
  for (const auto& record : records) sources.push_back(record.value.source());
  context_.sources.set_sources(sources);
  return Status::ok();
}

Status CatalogReconciler::record_source_status(const Snapshot& snapshot, const v1::SourceRecord& source, Time now) {
  const v1::Metadata& metadata = source.source().metadata();
  SourceObservation seen = context_.sources.observe(metadata.project(), metadata.name());
  if (!seen.known) return Status::ok();
  const std::string key = keys::source_status(metadata.project(), metadata.name());
  ASSIGN_OR_RETURN(auto stored, get<v1::SourceStatus>(snapshot, key));
  v1::SourceStatus status;
  status.set_project(metadata.project());
  status.set_name(metadata.name());
  status.set_degraded(seen.degraded);
  status.set_message(seen.message);
  status.set_head_commit(seen.head_commit);
  status.set_entries(seen.files.size());
  if (stored) status.set_changed_us(stored->value.changed_us());
  if (stored && serialize(status) == serialize(stored->value)) return Status::ok();
  status.set_changed_us(now.us);
  Change change;
  change.actor = "control/catalog";
  change.action = "observe source " + metadata.name();
  change.reason = seen.message.empty() ? "it can be read" : seen.message;
  expect(change, key, stored ? stored->revision : 0);
  put(change, key, status);
  add_source_turned(context_, &change, stored && stored->value.degraded(), status);
  if (seen.degraded) log_warning("catalog", "source " + metadata.name() + " is degraded: " + seen.message);
  CRASH_POINT("catalog.source_status.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("catalog.source_status.after_commit");
  return committed.status();
}

Status CatalogReconciler::adopt_recipe(const Snapshot& snapshot, const v1::PipelineRecord& record) {
  const v1::Pipeline& pipeline = record.pipeline();
  const std::string& project = pipeline.metadata().project();
  const std::string key = keys::pipeline_code(project, pipeline.metadata().name());
  ASSIGN_OR_RETURN(auto stored, get<v1::PipelineCode>(snapshot, key));
  v1::PipelineCode code;
  if (stored) code = stored->value;
  code.set_project(project);
  code.set_pipeline(pipeline.metadata().name());

  bool same_version = stored && code.pipeline_version() == record.version();
  std::string commit;
  if (pipeline.spec().has_recipe_from()) {
    commit = context_.sources.observe(project, pipeline.spec().recipe_from().source()).head_commit;
    if (commit.empty()) return Status::ok();
    if (same_version && (commit == code.commit() || commit == code.refused_commit())) return Status::ok();
  } else if (same_version) {
    return Status::ok();
  }
  CRASH_POINT("catalog.recipe.before_read");
  Result<v1::Recipe> recipe = recipe_at(context_, pipeline, commit);
  // A repository that can't be read now is no reason to refuse the revision.
  if (!recipe.is_ok() && recipe.status().code() != Code::kInvalidArgument &&
      recipe.status().code() != Code::kNotFound) {
    return recipe.status();
  }
  code.set_pipeline_version(record.version());
  if (recipe.is_ok()) {
    code.set_commit(commit);
    *code.mutable_recipe() = *recipe;
    code.set_recipe_digest(message_digest(*recipe));
    code.clear_refused_commit();
    code.clear_refused_reason();
  } else {
    code.set_refused_commit(commit);
    code.set_refused_reason(recipe.status().message());
    log_warning("catalog", "pipeline " + pipeline.metadata().name() + ": revision " + commit +
                               " is refused: " + recipe.status().message());
  }
  Change change;
  change.actor = "control/catalog";
  change.action = (recipe.is_ok() ? "adopt recipe of " : "refuse recipe of ") + pipeline.metadata().name();
  change.reason = recipe.is_ok() ? "revision " + commit : recipe.status().message();
  expect(change, key, stored ? stored->revision : 0);
  put(change, key, code);
  CRASH_POINT("catalog.recipe.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("catalog.recipe.after_commit");
  return committed.status();
}

Status CatalogReconciler::record_entries(const Snapshot& snapshot, const v1::PipelineRecord& pipeline,
                                         const v1::InputSpec& input, Time now) {
  const std::string& project = pipeline.pipeline().metadata().project();
  const std::string& name = pipeline.pipeline().metadata().name();
  SourceObservation seen = context_.sources.observe(project, input.source());
  // A directory that can't be read says nothing about its files.
  if (!seen.known || seen.degraded) return Status::ok();
  ASSIGN_OR_RETURN(auto known, list<v1::EntryRecord>(snapshot, keys::entries(project, name, input.name())));
  std::map<std::string, const Record<v1::EntryRecord>*> by_key;
  for (const auto& record : known) by_key[record.key] = &record;

  const std::string counter_key = keys::entry_counter(project, name, input.name());
  ASSIGN_OR_RETURN(auto counter, get<v1::Counter>(snapshot, counter_key));
  v1::Counter order;
  if (counter) order = counter->value;

  Change change;
  change.actor = "control/catalog";
  std::set<std::string> present;
  uint64_t arrived = 0;
  for (const ObservedFile& file : seen.files) {
    const std::string key = keys::entry(project, name, input.name(), file.uri, file.sha256);
    present.insert(key);
    auto found = by_key.find(key);
    if (found != by_key.end() && found->second->value.state() != v1::EntryRecord::GONE) continue;
    v1::EntryRecord record;
    record.set_project(project);
    record.set_pipeline(name);
    record.set_input(input.name());
    *record.mutable_entry() = entry_of(file);
    record.set_state(v1::EntryRecord::ARRIVED);
    record.set_arrived_us(file.changed.us);
    record.set_observed_us(now.us);
    order.set_value(order.value() + 1);
    record.set_order(order.value());
    expect(change, key, found == by_key.end() ? 0 : found->second->revision);
    put(change, key, record);
    ++arrived;
  }
  uint64_t gone = 0;
  for (auto& record : known) {
    if (present.contains(record.key) || record.value.state() == v1::EntryRecord::GONE) continue;
    // Right after a start, a young file is still being looked at: it may well be this entry.
    if (seen.pending_files.contains(record.value.entry().uri())) continue;
    Record<v1::EntryRecord> changed = record;
    changed.value.set_state(v1::EntryRecord::GONE);
    changed.value.set_reason("the file was removed or replaced");
    changed.value.set_decided_us(now.us);
    update(change, changed);
    ++gone;
  }
  if (arrived == 0 && gone == 0) return Status::ok();
  if (arrived > 0) {
    expect(change, counter_key, counter ? counter->revision : 0);
    put(change, counter_key, order);
  }
  change.action = "record entries of " + name + "/" + input.name();
  change.reason = std::to_string(arrived) + " arrived, " + std::to_string(gone) + " gone";
  CRASH_POINT("catalog.entries.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("catalog.entries.after_commit");
  return committed.status();
}

Status CatalogReconciler::start_inspection(const Snapshot& snapshot, const v1::PipelineRecord& pipeline,
                                           const v1::InputSpec& input, Time now) {
  const std::string& project = pipeline.pipeline().metadata().project();
  const std::string& name = pipeline.pipeline().metadata().name();
  ASSIGN_OR_RETURN(auto code, get<v1::PipelineCode>(snapshot, keys::pipeline_code(project, name)));
  if (!code || train_step(code->value.recipe()) == nullptr) return Status::ok();  // nothing to inspect by, yet
  ASSIGN_OR_RETURN(auto pending, pending_inspections(snapshot));
  for (const auto& other : pending) {
    // One at a time: what arrives meanwhile is the next batch.
    if (other.value.project() == project && other.value.pipeline() == name && other.value.input() == input.name()) {
      return Status::ok();
    }
  }
  ASSIGN_OR_RETURN(auto records, list<v1::EntryRecord>(snapshot, keys::entries(project, name, input.name())));
  v1::Inspection inspection;
  Change change;
  for (auto& record : records) {
    if (record.value.state() != v1::EntryRecord::ARRIVED || !record.value.inspection_id().empty()) continue;
    if (inspection.id().empty()) inspection.set_id(new_id(context_.random));
    *inspection.add_entries() = record.value.entry();
    record.value.set_inspection_id(inspection.id());
    update(change, record);
  }
  if (inspection.entries_size() == 0) return Status::ok();
  inspection.set_project(project);
  inspection.set_pipeline(name);
  inspection.set_input(input.name());
  inspection.set_state(v1::Inspection::PENDING);
  inspection.set_created_us(now.us);
  change.actor = "control/catalog";
  change.action = "start inspection " + inspection.id();
  change.reason = std::to_string(inspection.entries_size()) + " new entries of " + name + "/" + input.name();
  const std::string key = keys::inspection(project, inspection.id());
  create(change, key, inspection);
  put_reference(change, keys::pending_inspection(project, inspection.id()), key);
  CRASH_POINT("catalog.inspection.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("catalog.inspection.after_commit");
  return committed.status();
}

Status CatalogReconciler::judge_inspection(const Snapshot& snapshot, const Record<v1::Inspection>& record, Time now) {
  Record<v1::Inspection> changed = record;
  v1::Inspection& inspection = changed.value;
  if (inspection.state() != v1::Inspection::RUNNING) return Status::ok();
  ASSIGN_OR_RETURN(auto attempt,
                   get<v1::Attempt>(snapshot, keys::attempt(inspection_work(inspection), inspection.epoch())));
  if (!attempt || attempt->value.state() != v1::Attempt::SUCCEEDED) return Status::ok();

  Change change;
  change.actor = "control/catalog";
  change.action = "judge inspection " + inspection.id();
  v1::InspectionReport report;
  CRASH_POINT("catalog.judgement.before_read");
  Status read = read_report(context_.artifacts, attempt->value.outputs(), &report);
  if (read.is_ok() && report.profiles_size() != inspection.entries_size()) {
    read = corrupt("the report covers " + std::to_string(report.profiles_size()) + " of " +
                   std::to_string(inspection.entries_size()) + " entries");
  }
  if (!read.is_ok()) return read;

  ASSIGN_OR_RETURN(auto pipeline,
                   require<v1::PipelineRecord>(snapshot, keys::pipeline(inspection.project(), inspection.pipeline()),
                                               "pipeline " + inspection.pipeline()));
  ASSIGN_OR_RETURN(auto code,
                   require<v1::PipelineCode>(snapshot, keys::pipeline_code(inspection.project(), inspection.pipeline()),
                                             "recipe of " + inspection.pipeline()));
  const v1::InputSpec* input = find_input(pipeline.value.pipeline().spec(), inspection.input());
  const v1::Step* train = train_step(code.value.recipe());
  if (input == nullptr || train == nullptr) {
    return invalid_argument("input " + inspection.input() + " is no longer part of the pipeline");
  }
  ASSIGN_OR_RETURN(auto accepted,
                   accepted_entries(snapshot, inspection.project(), inspection.pipeline(), inspection.input()));
  std::vector<v1::EntryProfile> accepted_profiles;
  for (const auto& entry : accepted) accepted_profiles.push_back(entry.profile());

  uint64_t passed = 0;
  for (int i = 0; i < inspection.entries_size(); ++i) {
    const v1::DatasetEntry& entry = inspection.entries(i);
    const std::string key =
        keys::entry(inspection.project(), inspection.pipeline(), inspection.input(), entry.uri(), entry.sha256());
    ASSIGN_OR_RETURN(auto entry_record, require<v1::EntryRecord>(snapshot, key, "entry " + entry.uri()));
    if (entry_record.value.state() != v1::EntryRecord::ARRIVED) continue;  // gone or discarded meanwhile
    auto judgement = scheduler::judge_entry(input->validation(), train->train(), report.profiles(i), accepted_profiles);
    entry_record.value.set_state(judgement.accepted ? v1::EntryRecord::ACCEPTED : v1::EntryRecord::QUARANTINED);
    entry_record.value.set_reason(judgement.reason);
    *entry_record.value.mutable_profile() = report.profiles(i);
    entry_record.value.set_decided_us(now.us);
    update(change, entry_record);
    if (judgement.accepted) {
      accepted_profiles.push_back(report.profiles(i));
      ++passed;
    } else {
      log_warning("catalog", "quarantined " + entry.uri() + ": " + judgement.reason);
    }
  }
  inspection.set_state(v1::Inspection::SUCCEEDED);
  inspection.set_finished_us(now.us);
  inspection.set_message(std::to_string(passed) + " of " + std::to_string(inspection.entries_size()) + " accepted");
  change.reason = inspection.message();
  update(change, changed);
  erase(change, keys::pending_inspection(inspection.project(), inspection.id()));
  CRASH_POINT("catalog.judgement.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("catalog.judgement.after_commit");
  return committed.status();
}

}  // namespace freshet::control
