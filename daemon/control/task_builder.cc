#include "daemon/control/task_builder.h"

#include <algorithm>
#include <set>

#include "daemon/control/replay.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/recipe_steps.h"

namespace freshet::control {
namespace {

const v1::RunInput* find_run_input(const v1::Run& run, const std::string& name) {
  for (const auto& input : run.inputs()) {
    if (input.name() == name || (name.empty() && run.inputs_size() == 1)) return &input;
  }
  return nullptr;
}

// The step's input with its dataset and the names of the held-out entries.
template <class Task>
Status add_data(const Snapshot& snapshot, const v1::Run& run, const std::string& step, const std::string& input_name,
                Task* task) {
  const v1::RunInput* input = find_run_input(run, input_name);
  if (input == nullptr) {
    return invalid_argument("step " + step + " reads input '" + input_name + "'; the pipeline has " +
                            std::to_string(run.inputs_size()) + " inputs and none of that name");
  }
  ASSIGN_OR_RETURN(auto dataset,
                   require<v1::DatasetVersion>(snapshot, keys::dataset(run.project(), input->dataset_digest()),
                                               "dataset " + input->dataset_digest()));
  *task->mutable_data() = dataset.value;
  *task->mutable_holdout() = input->holdout();
  return Status::ok();
}

// Adds what the version was trained on, and what the versions it was warm-started from were.
Status add_trained_on(const Snapshot& snapshot, const std::string& project, std::string version,
                      std::set<std::string>* done, v1::EvaluateTask* task) {
  while (!version.empty() && done->insert(version).second) {
    ASSIGN_OR_RETURN(VersionName name, parse_version_name(version));
    ASSIGN_OR_RETURN(auto record, require<v1::ModelVersion>(
                                      snapshot, keys::model_version(project, name.model, name.version), version));
    auto* trained = task->add_trained_on();
    trained->set_version(version);
    for (const auto& input : record.value.inputs()) {
      ASSIGN_OR_RETURN(auto entries, trained_entries(snapshot, project, input));
      for (const auto& entry : entries) *trained->add_entries() = entry;
    }
    version = record.value.warm_start_version();
  }
  return Status::ok();
}

Result<BuiltTask> build_evaluation(const Snapshot& snapshot, const v1::Run& run, const v1::Step& step,
                                   const v1::PipelineRecord& pipeline) {
  BuiltTask built;
  v1::EvaluateTask* task = built.spec.mutable_evaluate();
  const v1::Step* train = train_step(run.recipe());
  if (train == nullptr) return invalid_argument("step " + step.name() + " needs a recipe with a train step");
  *task->mutable_step() = train->train();
  RETURN_IF_ERROR(add_data(snapshot, run, step.name(), step.evaluate().input(), task));
  ASSIGN_OR_RETURN(v1::Output model, model_of_needs(run, step));
  task->mutable_candidate()->set_digest(model.digest());

  ASSIGN_OR_RETURN(auto champion, champion_of(snapshot, run.project(), pipeline.pipeline()));
  std::set<std::string> done;
  auto* trained = task->add_trained_on();
  trained->set_version("candidate");
  for (const auto& input : run.inputs()) {
    ASSIGN_OR_RETURN(auto entries, trained_entries(snapshot, run.project(), input));
    for (const auto& entry : entries) *trained->add_entries() = entry;
  }
  RETURN_IF_ERROR(add_trained_on(snapshot, run.project(), run.warm_start_version(), &done, task));
  if (champion) {
    built.champion_version = version_name(champion->version.model(), champion->version.version());
    task->mutable_champion()->set_digest(champion->version.artifact_digest());
    task->set_champion_version(built.champion_version);
    RETURN_IF_ERROR(add_trained_on(snapshot, run.project(), built.champion_version, &done, task));
  }
  for (const auto& gate : pipeline.pipeline().spec().gates()) {
    if (!gate.has_slices()) continue;
    auto* slice = task->add_slices();
    slice->set_column(gate.slices().column());
    slice->set_largest(gate.slices().largest());
  }
  return built;
}

}  // namespace

Result<v1::Output> model_of_needs(const v1::Run& run, const v1::Step& step) {
  for (const auto& need : step.needs()) {
    for (const auto& status : run.steps()) {
      if (status.name() != need) continue;
      for (const auto& output : status.outputs()) {
        if (output.type() == "model") return output;
      }
    }
  }
  return invalid_argument("step " + step.name() + " is about a model, but no step it needs made one");
}

Result<v1::TrainTask> build_train_task(const Snapshot& snapshot, const v1::Run& run, const v1::Step& train) {
  v1::TrainTask task;
  *task.mutable_step() = train.train();
  RETURN_IF_ERROR(add_data(snapshot, run, train.name(), train.train().input(), &task));
  if (!run.warm_start_model().empty()) task.mutable_warm_start()->set_digest(run.warm_start_model());
  return task;
}

Result<std::vector<v1::DatasetEntry>> trained_entries(const Snapshot& snapshot, const std::string& project,
                                                      const v1::RunInput& input) {
  ASSIGN_OR_RETURN(auto dataset, require<v1::DatasetVersion>(snapshot, keys::dataset(project, input.dataset_digest()),
                                                             "dataset " + input.dataset_digest()));
  std::set<std::string> holdout(input.holdout().begin(), input.holdout().end());
  std::vector<v1::DatasetEntry> entries;
  for (const auto& entry : dataset.value.entries()) {
    if (!holdout.contains(entry.uri())) entries.push_back(entry);
  }
  return entries;
}

Result<BuiltTask> build_step_task(const Snapshot& snapshot, const v1::Run& run, const std::string& step_name) {
  ASSIGN_OR_RETURN(v1::PipelineRecord pipeline, pipeline_of(snapshot, run));
  const v1::Step& step = find_step(run.recipe(), step_name);
  BuiltTask built;
  v1::StepResources resources = resources_of(pipeline.pipeline().spec(), step_name);
  uint64_t seed = run.seed();
  if (step.has_train()) {
    ASSIGN_OR_RETURN(*built.spec.mutable_train(), build_train_task(snapshot, run, step));
  } else if (step.has_replay()) {
    ASSIGN_OR_RETURN(auto replay, build_replay(snapshot, run, step));
    *built.spec.mutable_replay() = std::move(replay.task);
    resources = replay_resources(pipeline.pipeline().spec(), replay.recipe);
    // The bits do not depend on the number of ranks, but there can't be more of them than micro-batches.
    resources.set_ranks(std::min(resources.ranks(), built.spec.replay().train().step().batch().micro_batches()));
    seed = replay.seed;
  } else if (step.has_evaluate()) {
    ASSIGN_OR_RETURN(built, build_evaluation(snapshot, run, step, pipeline));
  } else if (step.has_command()) {
    v1::CommandTask* task = built.spec.mutable_command();
    *task->mutable_step() = step.command();
    if (run.inputs_size() == 1) RETURN_IF_ERROR(add_data(snapshot, run, step_name, "", task));
    for (const auto& need : step.needs()) {
      for (const auto& status : run.steps()) {
        if (status.name() != need) continue;
        for (const auto& output : status.outputs()) task->add_inputs()->set_digest(output.digest());
      }
    }
    auto* run_id = task->add_environment();
    run_id->set_name("MLFLOW_RUN_ID");
    run_id->set_value(run.id());
  } else {
    return internal("step " + step_name + " has no process to start");
  }
  *built.spec.mutable_work() = step_work(run, step_name);
  built.spec.set_ranks(step.has_evaluate() ? 1 : resources.ranks());
  built.spec.set_threads_per_rank(resources.threads_per_rank());
  built.spec.set_timeout_s(resources.timeout_s());
  built.spec.set_seed(seed);
  return built;
}

Result<BuiltTask> build_inspection_task(const Snapshot& snapshot, const v1::Inspection& inspection) {
  const std::string& project = inspection.project();
  ASSIGN_OR_RETURN(auto pipeline, require<v1::PipelineRecord>(snapshot, keys::pipeline(project, inspection.pipeline()),
                                                              "pipeline " + inspection.pipeline()));
  ASSIGN_OR_RETURN(auto code, require<v1::PipelineCode>(snapshot, keys::pipeline_code(project, inspection.pipeline()),
                                                        "recipe of " + inspection.pipeline()));
  const v1::InputSpec* input = find_input(pipeline.value.pipeline().spec(), inspection.input());
  const v1::Step* train = train_step(code.value.recipe());
  if (input == nullptr || train == nullptr) {
    return invalid_argument("input " + inspection.input() + " is no longer part of pipeline " + inspection.pipeline());
  }
  ASSIGN_OR_RETURN(auto source, require<v1::SourceRecord>(snapshot, keys::source(project, input->source()),
                                                          "source " + input->source()));
  BuiltTask built;
  v1::InspectTask* task = built.spec.mutable_inspect();
  *task->mutable_step() = train->train();
  task->mutable_data()->set_project(project);
  task->mutable_data()->set_source(input->source());
  task->mutable_data()->set_source_uri(source.value.source().spec().directory().uri());
  *task->mutable_data()->mutable_entries() = inspection.entries();
  ASSIGN_OR_RETURN(auto champion, champion_of(snapshot, project, pipeline.value.pipeline()));
  if (champion) {
    built.champion_version = version_name(champion->version.model(), champion->version.version());
    task->mutable_champion()->set_digest(champion->version.artifact_digest());
    task->set_champion_version(built.champion_version);
  }
  *built.spec.mutable_work() = inspection_work(inspection);
  built.spec.set_ranks(1);
  built.spec.set_threads_per_rank(1);
  built.spec.set_timeout_s(600);
  return built;
}

}  // namespace freshet::control
