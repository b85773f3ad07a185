#include "daemon/control/replay.h"

#include "base/log.h"
#include "daemon/control/artifact_use.h"
#include "daemon/control/promotion.h"
#include "daemon/control/run_index.h"
#include "daemon/control/task_builder.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "proto/defaults.h"
#include "proto/digest.h"
#include "proto/recipe_steps.h"
#include "scheduler/replay.h"

namespace freshet::control {
namespace {

// Versions of one chain; a chain grows only as long as what is collected.
constexpr size_t kChainMax = 1000;

// All that a version's training was made of.
struct RecordedTraining {
  v1::ModelVersion version;
  v1::Run run;
  v1::Step train;
  v1::CheckpointInfo checkpoint;  // of the model that came out
};

Result<v1::CheckpointInfo> checkpoint_of(const Snapshot& snapshot, const std::string& artifact) {
  ASSIGN_OR_RETURN(auto record, artifact_record(snapshot, artifact));
  if (!record) return not_found("there is no record of artifact " + artifact);
  return record->value.manifest().checkpoint();
}

bool has_made(const v1::Run& run, const std::string& step, const std::string& artifact) {
  for (const auto& status : run.steps()) {
    for (const auto& output : status.outputs()) {
      if (status.name() == step && output.digest() == artifact) return true;
    }
  }
  return false;
}

Result<RecordedTraining> read_record(const Snapshot& snapshot, const std::string& project, const std::string& version) {
  ASSIGN_OR_RETURN(VersionName name, parse_version_name(version));
  ASSIGN_OR_RETURN(auto registered,
                   require<v1::ModelVersion>(snapshot, keys::model_version(project, name.model, name.version),
                                             "model version " + version));
  const v1::ModelVersion& record = registered.value;
  ASSIGN_OR_RETURN(auto run, require<v1::Run>(snapshot, keys::run(project, record.run_id()),
                                              "run " + record.run_id() + ", which made " + version + ","));
  if (message_digest(run.value.recipe()) != record.recipe_digest()) {
    return corrupt("the recipe of run " + record.run_id() + " is not the one that " + version + " was made by");
  }
  const v1::Step* train = train_step(run.value.recipe());
  if (train == nullptr || !has_made(run.value, train->name(), record.artifact_digest())) {
    return invalid_argument("version " + version +
                            " was made by a command; only what a train step has made can be "
                            "replayed");
  }
  for (const auto& input : run.value.inputs()) {
    const std::string what = "dataset " + input.dataset_digest();
    ASSIGN_OR_RETURN(auto data,
                     require<v1::DatasetVersion>(snapshot, keys::dataset(project, input.dataset_digest()), what));
    if (dataset_digest(data.value) != input.dataset_digest()) return corrupt("the entries of " + what + " are others");
  }
  ASSIGN_OR_RETURN(v1::CheckpointInfo checkpoint, checkpoint_of(snapshot, record.artifact_digest()));
  if (checkpoint.weights_digest() != record.weights_digest()) {
    return corrupt("version " + version + " and its artifact name different weights");
  }
  return RecordedTraining{record, run.value, *train, std::move(checkpoint)};
}

// The version, and those before it that must be trained again first; newest first. What the last one starts from, if
// anything, is kept until the run has ended.
Result<std::vector<RecordedTraining>> trace_back(const Snapshot& snapshot, const std::string& version, v1::Run* run,
                                                 Change* change) {
  std::vector<RecordedTraining> chain;
  ASSIGN_OR_RETURN(auto replayed, read_record(snapshot, run->project(), version));
  chain.push_back(std::move(replayed));
  for (;;) {
    const v1::Run made_by = chain.back().run;
    const std::string& start = made_by.warm_start_model();
    if (start.empty()) return chain;
    ASSIGN_OR_RETURN(auto usable, usable_artifact(snapshot, start));
    if (usable) {
      run->set_warm_start_version(made_by.warm_start_version());
      run->set_warm_start_model(start);
      RETURN_IF_ERROR(use_artifact(snapshot, start, "run " + run->id(), change));
      return chain;
    }
    if (chain.size() == kChainMax) {
      return invalid_argument("the " + std::to_string(kChainMax) + " versions before " + version +
                              " were all collected; that many are not trained again");
    }
    ASSIGN_OR_RETURN(auto before, read_record(snapshot, run->project(), made_by.warm_start_version()));
    if (before.version.artifact_digest() != start) {
      return corrupt("run " + made_by.id() + " did not start from the model of " + made_by.warm_start_version());
    }
    chain.push_back(std::move(before));
  }
}

}  // namespace

Result<v1::Run> add_replay_run(const Snapshot& snapshot, Context& context, const std::string& project,
                               const std::string& version, const RunRequest& request, Change* change) {
  const Time now = context.clock.now();
  v1::Run run;
  run.set_project(project);
  run.set_id(new_id(context.random));
  run.set_replay_of(version);
  ASSIGN_OR_RETURN(auto chain, trace_back(snapshot, version, &run, change));
  const RecordedTraining& replayed = chain.front();
  // Where it runs is decided by the pipeline as it is now: the bits do not depend on that.
  ASSIGN_OR_RETURN(auto pipeline,
                   require<v1::PipelineRecord>(snapshot, keys::pipeline(project, replayed.version.pipeline()),
                                               "pipeline " + replayed.version.pipeline()));
  const v1::PipelineSpec& spec = pipeline.value.pipeline().spec();
  run.set_pipeline(replayed.version.pipeline());
  run.set_pipeline_version(pipeline.value.version());
  run.set_state(v1::Run::QUEUED);
  run.set_cause(request.cause);
  run.set_idempotency_key(request.idempotency_key);
  run.set_priority(spec.priority());
  run.set_seed(replayed.version.seed());
  run.set_created_us(now.us);
  *run.mutable_inputs() = replayed.version.inputs();
  *run.mutable_code() = replayed.version.code();
  for (auto training = chain.rbegin(); training != chain.rend(); ++training) {
    const bool is_last = training + 1 == chain.rend();
    v1::Step step;
    step.set_name(kReplayStepName + (is_last ? "" : "-" + std::to_string(training->version.version())));
    if (run.recipe().steps_size() > 0) step.add_needs(run.recipe().steps(run.recipe().steps_size() - 1).name());
    step.mutable_replay()->set_version(version_name(training->version.model(), training->version.version()));
    step.mutable_replay()->set_keep_model(!is_last);
    auto* status = run.add_steps();
    status->set_name(step.name());
    status->set_state(v1::StepStatus::WAITING);
    status->set_slots(replay_resources(spec, training->run.recipe()).slots());
    *run.mutable_recipe()->add_steps() = std::move(step);
  }
  run.set_recipe_digest(message_digest(run.recipe()));
  // Good to have: to say how far the weights are off, should they be.
  RETURN_IF_ERROR(use_artifact_if_there(snapshot, replayed.version.artifact_digest(), "run " + run.id(), change));
  add_milestone(&run, "triggered", now);
  make_ready(&run, now);
  create_run(run, change);
  return run;
}

Result<BuiltReplay> build_replay(const Snapshot& snapshot, const v1::Run& run, const v1::Step& step) {
  BuiltReplay built;
  v1::ReplayTask& task = built.task;
  const std::string& version = step.replay().version();
  if (version.empty()) {
    const v1::Step* train = train_step(run.recipe());
    if (train == nullptr) return invalid_argument("step " + step.name() + " needs a recipe with a train step");
    ASSIGN_OR_RETURN(v1::Output candidate, model_of_needs(run, step));
    ASSIGN_OR_RETURN(*task.mutable_train(), build_train_task(snapshot, run, *train));
    ASSIGN_OR_RETURN(*task.mutable_expected(), checkpoint_of(snapshot, candidate.digest()));
    task.mutable_model()->set_digest(candidate.digest());
    built.seed = run.seed();
    built.recipe = run.recipe();
    return built;
  }
  ASSIGN_OR_RETURN(auto recorded, read_record(snapshot, run.project(), version));
  ASSIGN_OR_RETURN(*task.mutable_train(), build_train_task(snapshot, recorded.run, recorded.train));
  if (step.needs_size() > 0) {
    ASSIGN_OR_RETURN(v1::Output start, model_of_needs(run, step));
    task.mutable_train()->mutable_warm_start()->set_digest(start.digest());
    ASSIGN_OR_RETURN(auto made_again, checkpoint_of(snapshot, start.digest()));
    ASSIGN_OR_RETURN(auto started_from, checkpoint_of(snapshot, recorded.run.warm_start_model()));
    if (made_again.weights_digest() != started_from.weights_digest()) {
      task.set_other_start(recorded.run.warm_start_version());
    }
  }
  *task.mutable_expected() = recorded.checkpoint;
  task.set_version(version);
  task.set_keep_model(step.replay().keep_model());
  ASSIGN_OR_RETURN(auto usable, usable_artifact(snapshot, recorded.version.artifact_digest()));
  if (usable) task.mutable_model()->set_digest(recorded.version.artifact_digest());
  built.seed = recorded.version.seed();
  built.recipe = recorded.run.recipe();
  return built;
}

Status settle_replay(const Context& context, const v1::Step& step, v1::Run* run, v1::StepStatus* status) {
  v1::ReplayReport report;
  RETURN_IF_ERROR(read_report(context.artifacts, status->outputs(), &report));
  const std::string explanation = scheduler::explain_replay(report);
  status->set_message(explanation);
  if (!run->replay_of().empty()) {
    if (scheduler::is_refuted(report)) status->set_state(v1::StepStatus::FAILED);
    if (step.replay().version() == run->replay_of()) run->set_message(explanation);
  }
  log_info("replay", "run " + run->id() + ", step " + step.name() + ": " + explanation);
  *run->add_replays() = std::move(report);
  return Status::ok();
}

}  // namespace freshet::control
