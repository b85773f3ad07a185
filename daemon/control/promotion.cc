#include "daemon/control/promotion.h"

#include "base/crash_point.h"
#include "base/log.h"
#include "daemon/control/artifact_use.h"
#include "daemon/control/outbox.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "proto/digest.h"
#include "proto/json.h"
#include "scheduler/gates.h"

namespace freshet::control {
namespace {

const v1::Output* output_of_type(const v1::StepStatus& status, const std::string& type) {
  for (const auto& output : status.outputs()) {
    if (output.type() == type) return &output;
  }
  return nullptr;
}

// The evaluation that the promote step needs; nullptr when its recipe has none.
v1::StepStatus* evaluation_of(v1::Run* run, const v1::Step& promote) {
  for (const auto& need : promote.needs()) {
    if (find_step(run->recipe(), need).has_evaluate()) return find_status(run, need);
  }
  return nullptr;
}

const v1::Output* model_output(const v1::Run& run) {
  for (const auto& status : run.steps()) {
    if (const auto* output = output_of_type(status, "model")) return output;
  }
  return nullptr;
}

const v1::ReplayReport* replay_of_candidate(const v1::Run& run) {
  for (const auto& replay : run.replays()) {
    if (replay.version().empty()) return &replay;
  }
  return nullptr;
}

std::string first_refusal(const v1::Verdict& verdict) {
  for (const auto& gate : verdict.gates()) {
    if (!gate.passed()) return "gate " + gate.gate().name() + ": " + gate.explanation();
  }
  return "";
}

v1::ModelVersion make_version(const v1::Run& run, const v1::PipelineRecord& pipeline, const std::string& digest,
                              const v1::CheckpointInfo& checkpoint, const v1::EvaluationReport& report) {
  v1::ModelVersion version;
  version.set_project(run.project());
  version.set_model(pipeline.pipeline().spec().model());
  version.set_run_id(run.id());
  version.set_artifact_digest(digest);
  version.set_weights_digest(checkpoint.weights_digest());
  version.set_initial_weights_digest(checkpoint.initial_weights_digest());
  version.set_pipeline(run.pipeline());
  version.set_pipeline_version(run.pipeline_version());
  version.set_spec_digest(pipeline.spec_digest());
  version.set_recipe_digest(run.recipe_digest());
  *version.mutable_code() = run.code();
  *version.mutable_inputs() = run.inputs();
  version.set_seed(run.seed());
  *version.mutable_numerics() = checkpoint.numerics();
  version.set_warm_start_version(run.warm_start_version());
  *version.mutable_metrics() = report.candidate().metrics();
  return version;
}

}  // namespace

Status read_report(const ArtifactStore& artifacts, const google::protobuf::RepeatedPtrField<v1::Output>& outputs,
                   google::protobuf::Message* report) {
  for (const auto& output : outputs) {
    if (output.type() != "report") continue;
    ASSIGN_OR_RETURN(std::string text, artifacts.read(output.digest(), "report.json"));
    return from_json(text, report).with_context("report " + output.digest());
  }
  return not_found("the attempt left no report");
}

void move_alias(const Snapshot& snapshot, Context& context, const std::optional<Record<v1::Alias>>& current,
                v1::Alias next, const std::string& pipeline, Change* change) {
  const std::string key = keys::alias(next.project(), next.model(), next.alias());
  next.set_previous_version(current ? current->value.version() : 0);
  expect(*change, key, current ? current->revision : 0);
  put(*change, key, next);
  v1::AliasMove move;
  *move.mutable_alias() = next;
  move.set_revision(snapshot.revision() + 1);
  create(*change, keys::alias_move(next.project(), next.model(), next.alias(), move.revision()), move);
  add_alias_moved(context, change, next, pipeline);
}

Status judge_and_promote(const Snapshot& snapshot, Context& context, const v1::PipelineRecord& pipeline, v1::Run* run,
                         v1::StepStatus* step, Time now, Change* change) {
  const v1::PipelineSpec& spec = pipeline.pipeline().spec();
  const v1::Output* model = model_output(*run);
  if (model == nullptr) return invalid_argument("there is no model to promote: no step of the run has made one");
  ASSIGN_OR_RETURN(auto artifact, usable_artifact(snapshot, model->digest()));
  if (!artifact) return missing_artifact(snapshot, model->digest());
  ASSIGN_OR_RETURN(auto champion, champion_of(snapshot, run->project(), pipeline.pipeline()));
  const std::string champion_name =
      champion ? version_name(champion->version.model(), champion->version.version()) : std::string();

  v1::EvaluationReport report;
  std::string report_digest;
  v1::StepStatus* evaluation = evaluation_of(run, find_step(run->recipe(), step->name()));
  if (evaluation != nullptr) {
    RETURN_IF_ERROR(read_report(context.artifacts, evaluation->outputs(), &report));
    report_digest = output_of_type(*evaluation, "report")->digest();
    if (report.champion_version() != champion_name) {
      // Somebody moved the alias meanwhile: the numbers compare with a model that is no longer in use.
      evaluation->clear_outputs();
      evaluation->set_state(v1::StepStatus::READY);
      evaluation->set_ready_us(now.us);
      step->set_state(v1::StepStatus::WAITING);
      change->reason = "the champion changed from '" + report.champion_version() + "' to '" + champion_name +
                       "' during the evaluation; evaluating again";
      return Status::ok();
    }
  } else if (spec.gates_size() > 0) {
    return invalid_argument("the pipeline has gates, but step " + step->name() + " needs no evaluate step");
  }
  v1::Verdict verdict = scheduler::judge(spec.gates(), report, replay_of_candidate(*run));
  verdict.set_report_digest(report_digest);
  verdict.set_champion_version(champion_name);

  const std::string model_key = keys::model(run->project(), spec.model());
  ASSIGN_OR_RETURN(auto registered, get<v1::Model>(snapshot, model_key));
  v1::Model entry;
  if (registered) entry = registered->value;
  entry.set_project(run->project());
  entry.set_name(spec.model());
  if (entry.created_us() == 0) entry.set_created_us(now.us);
  entry.set_latest_version(entry.latest_version() + 1);
  const std::string name = version_name(spec.model(), entry.latest_version());
  // Before the commit: a version must never refer to an artifact that could be collected. Before the first write too: a
  // pin that fails must leave nothing in the change.
  CRASH_POINT("promotion.artifact.before_pin");
  RETURN_IF_ERROR(context.artifacts.pin(model->digest(), "model " + name));
  CRASH_POINT("promotion.artifact.after_pin");
  RETURN_IF_ERROR(use_artifact(snapshot, model->digest(), "version " + name, change));
  RETURN_IF_ERROR(use_artifact_if_there(snapshot, report_digest, "version " + name, change));
  RETURN_IF_ERROR(use_artifact_if_there(snapshot, run->warm_start_model(), "version " + name, change));
  expect(*change, model_key, registered ? registered->revision : 0);
  put(*change, model_key, entry);

  v1::ModelVersion version =
      make_version(*run, pipeline, model->digest(), artifact->value.manifest().checkpoint(), report);
  version.set_version(entry.latest_version());
  version.set_created_us(now.us);
  *version.mutable_verdict() = verdict;
  create(*change, keys::model_version(run->project(), spec.model(), version.version()), version);
  add_version_created(context, change, version);

  std::string outcome = "refused: " + first_refusal(verdict);
  if (verdict.passed() && spec.promotion().policy() == v1::Promotion::MANUAL) {
    outcome = name + " passed all gates; promotion is manual: freshet promote " + spec.model() + " " +
              std::to_string(version.version());
  } else if (verdict.passed()) {
    v1::Alias next;
    next.set_project(run->project());
    next.set_model(spec.model());
    next.set_alias(spec.promotion().alias());
    next.set_version(version.version());
    next.set_moved_us(now.us);
    next.set_actor("control/run");
    next.set_reason("run " + run->id() + " passed all gates");
    move_alias(snapshot, context, champion ? std::optional(champion->alias) : std::nullopt, next, run->pipeline(),
               change);
    outcome = name + " is now " + spec.promotion().alias();
    add_milestone(run, "promoted", now);
  }
  *run->mutable_verdict() = verdict;
  run->set_model_version(name);
  run->set_message(outcome);
  step->set_state(v1::StepStatus::SUCCEEDED);
  step->set_message(outcome);
  step->set_finished_us(now.us);
  change->reason = outcome;
  log_info("promotion", "run " + run->id() + ": " + outcome);
  return Status::ok();
}

}  // namespace freshet::control
