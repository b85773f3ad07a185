#include "daemon/control/gc_scan.h"

#include <algorithm>

#include "daemon/control/artifact_use.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "proto/defaults.h"
#include "scheduler/run_graph.h"

namespace freshet::control {
namespace {

constexpr size_t kRunsPerSlice = 200;
constexpr size_t kVersionsPerSlice = 200;
constexpr size_t kArtifactsPerSlice = 200;

// The policy of a pipeline; of one that was never applied (or before there were policies), the default.
v1::Retention policy_of(const std::map<std::string, Record<v1::PipelineRecord>>& pipelines, const std::string& key) {
  auto found = pipelines.find(key);
  if (found == pipelines.end()) {
    v1::Retention standard;
    apply_defaults(&standard, v1::PipelineSpec());
    return standard;
  }
  const v1::PipelineSpec& spec = found->second.value.pipeline().spec();
  v1::Retention policy = spec.retention();
  apply_defaults(&policy, spec);
  return policy;
}

}  // namespace

uint64_t bytes_of(const v1::ArtifactManifest& manifest) {
  uint64_t bytes = 0;
  for (const auto& file : manifest.files()) bytes += file.size();
  return bytes;
}

bool is_version_pin(const std::string& by) { return by.starts_with("model "); }

Status GcScan::finish(Time now) {
  for (;;) {
    ASSIGN_OR_RETURN(bool is_done, step(now));
    if (is_done) return Status::ok();
  }
}

Result<bool> GcScan::step(Time now) {
  auto snapshot = context_.store.snapshot();
  if (!has_begun_) {
    RETURN_IF_ERROR(begin(*snapshot));
  } else if (!live_runs_.empty()) {
    for (size_t taken = 0; !live_runs_.empty() && taken < kRunsPerSlice; ++taken) {
      RETURN_IF_ERROR(read_run(*snapshot, live_runs_.back()));
      live_runs_.pop_back();
    }
  } else if (!has_gangs_) {
    RETURN_IF_ERROR(read_gangs(*snapshot));
    has_gangs_ = true;
  } else if (!models_.empty()) {
    RETURN_IF_ERROR(read_versions(*snapshot));
    if (after_.empty()) {
      RETURN_IF_ERROR(judge_model(*snapshot, now));
      models_.pop_back();
      versions_.clear();
    }
  } else {
    RETURN_IF_ERROR(read_artifacts(*snapshot, now));
    return after_.empty();
  }
  return false;
}

Status GcScan::begin(const Snapshot& snapshot) {
  began_ = snapshot.revision();
  ASSIGN_OR_RETURN(auto pipelines, list<v1::PipelineRecord>(snapshot, keys::pipelines()));
  for (auto& pipeline : pipelines) pipelines_[pipeline.key] = std::move(pipeline);
  ASSIGN_OR_RETURN(auto models, list<v1::Model>(snapshot, keys::models()));
  for (auto& model : models) models_.push_back(std::move(model.value));
  // Before the versions: a run that ends after this was seen live, and one that ended before has its version.
  RETURN_IF_ERROR(list_live_runs(snapshot));
  has_begun_ = true;
  return Status::ok();
}

Status GcScan::read_versions(const Snapshot& snapshot) {
  const v1::Model& model = models_.back();
  const std::string prefix = keys::model_versions(model.project(), model.name());
  ASSIGN_OR_RETURN(auto page, list<v1::ModelVersion>(snapshot, prefix, after_, kVersionsPerSlice));
  for (const auto& record : page) {
    const v1::ModelVersion& version = record.value;
    Seen& seen = versions_.emplace_back();
    seen.pipeline = keys::pipeline(version.project(), version.pipeline());
    seen.facts.version = version.version();
    seen.facts.passed = version.verdict().passed();
    seen.facts.score = scheduler::retention_score(policy_of(pipelines_, seen.pipeline), version);
    seen.digest = version.artifact_digest();
    seen.run_id = version.run_id();
    seen.report_digest = version.verdict().report_digest();
    seen.warm_start_version = version.warm_start_version();
    seen.created_us = version.created_us();
  }
  after_ = page.size() == kVersionsPerSlice ? page.back().key : "";
  return Status::ok();
}

Status GcScan::add_alias_uses(const Snapshot& snapshot) {
  const v1::Model& model = models_.back();
  auto use = [&](uint64_t version, scheduler::AliasUse alias_use) {
    auto at = std::lower_bound(versions_.begin(), versions_.end(), version,
                               [](const Seen& seen, uint64_t number) { return seen.facts.version < number; });
    if (at != versions_.end() && at->facts.version == version) at->facts.aliases.push_back(std::move(alias_use));
  };
  ASSIGN_OR_RETURN(auto moves, list<v1::AliasMove>(snapshot, keys::alias_moves(model.project(), model.name())));
  for (size_t i = 0; i < moves.size(); ++i) {
    const v1::Alias& alias = moves[i].value.alias();
    // They lie alias by alias, and in each in the order of their commits.
    const bool is_last = i + 1 == moves.size() || moves[i + 1].value.alias().alias() != alias.alias();
    use(alias.version(), {alias.alias(), is_last ? Time::never() : moves[i + 1].commit_time, false});
    if (is_last) use(alias.previous_version(), {alias.alias(), moves[i].commit_time, true});
  }
  return Status::ok();
}

Status GcScan::judge_model(const Snapshot& snapshot, Time now) {
  RETURN_IF_ERROR(add_alias_uses(snapshot));
  std::map<std::string, std::vector<size_t>> by_pipeline;
  for (size_t i = 0; i < versions_.size(); ++i) by_pipeline[versions_[i].pipeline].push_back(i);
  for (const auto& [pipeline, indexes] : by_pipeline) {
    std::vector<scheduler::VersionFacts> facts;
    for (size_t i : indexes) facts.push_back(versions_[i].facts);
    auto decisions = scheduler::decide_retention(policy_of(pipelines_, pipeline), facts, now);
    for (size_t i = 0; i < indexes.size(); ++i) {
      const Seen& seen = versions_[indexes[i]];
      const std::string name = version_name(models_.back().name(), seen.facts.version);
      for (const std::string& digest : {seen.digest, seen.report_digest}) {
        if (digest.empty()) continue;
        Story& story = stories_[digest];
        story.versions.insert(name);
        story.pipelines.insert(pipeline);
        if (!decisions[i].keep) story.dropped = name + ": " + decisions[i].reason;
      }
      if (!decisions[i].keep) continue;
      keep(seen.digest, name + ": " + decisions[i].reason);
      keep(seen.report_digest, "the evaluation of " + name);
      RETURN_IF_ERROR(keep_parts(snapshot, seen));
    }
  }
  return Status::ok();
}

// What replaying a kept version takes: the weights it started from, and whatever else its run made.
Status GcScan::keep_parts(const Snapshot& snapshot, const Seen& seen) {
  const std::string& project = models_.back().project();
  const std::string name = version_name(models_.back().name(), seen.facts.version);
  if (!seen.warm_start_version.empty()) {
    ASSIGN_OR_RETURN(VersionName parent, parse_version_name(seen.warm_start_version));
    ASSIGN_OR_RETURN(auto version,
                     get<v1::ModelVersion>(snapshot, keys::model_version(project, parent.model, parent.version)));
    if (version) keep(version->value.artifact_digest(), "initial weights of " + name);
  }
  ASSIGN_OR_RETURN(auto run, get<v1::Run>(snapshot, keys::run(project, seen.run_id)));
  if (!run) return Status::ok();
  for (const auto& step : run->value.steps()) {
    for (const auto& output : step.outputs()) keep(output.digest(), "made by the run of " + name);
  }
  return Status::ok();
}

// The runs that have not ended, of all projects, whether or not these have pipelines.
Status GcScan::list_live_runs(const Snapshot& snapshot) {
  std::string after;
  for (;;) {
    ASSIGN_OR_RETURN(auto first, list_references(snapshot, keys::runs_by_state(), after, 1));
    if (first.empty()) return Status::ok();
    const std::string listing(keys::counted_prefix(first[0].key));  // those of one project in one state
    ASSIGN_OR_RETURN(auto run, require<v1::Run>(snapshot, first[0].target, first[0].target));
    if (!scheduler::is_final(run.value.state())) {
      ASSIGN_OR_RETURN(auto found, list_references(snapshot, listing));
      for (auto& reference : found) live_runs_.push_back(std::move(reference.target));
    }
    after = listing + "~";  // behind all of them: they go on with digits
  }
}

Status GcScan::read_run(const Snapshot& snapshot, const std::string& key) {
  ASSIGN_OR_RETURN(auto run, require<v1::Run>(snapshot, key, key));
  const std::string reason = "run " + run.value.id() + " has not ended";
  keep(run.value.warm_start_model(), reason);
  for (const auto& step : run.value.steps()) {
    for (const auto& output : step.outputs()) keep(output.digest(), reason);
  }
  ASSIGN_OR_RETURN(auto attempts,
                   list<v1::Attempt>(snapshot, keys::attempts_of_run(run.value.project(), run.value.id())));
  for (const auto& attempt : attempts) {
    for (const auto& output : attempt.value.outputs()) keep(output.digest(), reason);
  }
  return Status::ok();
}

Status GcScan::read_gangs(const Snapshot& snapshot) {
  ASSIGN_OR_RETURN(auto inspections, pending_inspections(snapshot));
  for (const auto& inspection : inspections) {
    ASSIGN_OR_RETURN(auto attempts, list<v1::Attempt>(snapshot, keys::attempts(inspection_work(inspection.value))));
    for (const auto& attempt : attempts) {
      for (const auto& output : attempt.value.outputs()) {
        keep(output.digest(), "inspection " + inspection.value.id() + " has not ended");
      }
    }
  }
  ASSIGN_OR_RETURN(auto attempts, active_attempts(snapshot));
  for (const auto& attempt : attempts) {
    const std::string reason = "gang " + attempt.value.gang_id() + " has not ended";
    for (const auto& output : attempt.value.outputs()) keep(output.digest(), reason);
    ASSIGN_OR_RETURN(auto spec,
                     get<v1::AttemptSpec>(snapshot, keys::attempt_spec(attempt.value.work(), attempt.value.epoch())));
    if (!spec) continue;
    for (const auto& digest : artifacts_of(spec->value)) keep(digest, reason);
  }
  return Status::ok();
}

Status GcScan::read_artifacts(const Snapshot& snapshot, Time now) {
  ASSIGN_OR_RETURN(auto page, list<v1::ArtifactRecord>(snapshot, keys::artifacts(), after_, kArtifactsPerSlice));
  for (const auto& record : page) RETURN_IF_ERROR(judge_artifact(snapshot, record, now));
  after_ = page.size() == kArtifactsPerSlice ? page.back().key : "";
  return Status::ok();
}

Status GcScan::judge_artifact(const Snapshot& snapshot, const Record<v1::ArtifactRecord>& record, Time now) {
  const std::string& digest = record.value.digest();
  GcArtifact& artifact = artifacts_.emplace_back();
  v1::GcItem& item = artifact.item;
  item.set_digest(digest);
  item.set_type(record.value.manifest().type());
  item.set_bytes(bytes_of(record.value.manifest()));
  auto story = stories_.find(digest);
  if (story != stories_.end()) {
    for (const auto& name : story->second.versions) item.add_versions(name);
    for (const auto& key : story->second.pipelines) {
      auto pipeline = pipelines_.find(key);
      artifact.pipelines.push_back({key, pipeline == pipelines_.end() ? 0 : pipeline->second.revision});
    }
  }
  artifact.is_marked = record.value.state() == v1::ArtifactRecord::MARKED;
  if (!is_usable(record.value)) {
    item.set_goes(true);
    item.set_reason(record.value.collected_reason());
    return Status::ok();
  }
  if (story != stories_.end() && !story->second.kept.empty()) {
    item.set_reason(story->second.kept);
    return Status::ok();
  }
  ASSIGN_OR_RETURN(auto pins, context_.artifacts.pins(digest));
  for (const auto& by : pins) {
    if (is_version_pin(by)) continue;
    item.set_reason("pinned by " + by);
    return Status::ok();
  }
  ASSIGN_OR_RETURN(auto use, get<v1::ArtifactUse>(snapshot, keys::artifact_use(digest)));
  // A mark is no use.
  const Time written = artifact.is_marked ? Time{record.value.sealed_us()} : record.commit_time;
  const Time used = std::max(written, use ? use->commit_time : Time{});
  const std::string last = to_iso8601(used) + (use ? " by " + use->value.by() : "");
  if (now - used < grace_) {
    item.set_reason("used at " + last + ", within the grace period of " + std::to_string(grace_.us / 1'000'000) + " s");
    return Status::ok();
  }
  item.set_goes(true);
  item.set_reason(item.versions().empty() ? "no version and no live run has it; last used at " + last
                                          : story->second.dropped);
  return Status::ok();
}

void GcScan::keep(const std::string& digest, const std::string& reason) {
  if (digest.empty()) return;
  Story& story = stories_[digest];
  if (story.kept.empty()) story.kept = reason;
}

}  // namespace freshet::control
