#include "daemon/control/run_factory.h"

#include <algorithm>

#include "daemon/control/artifact_use.h"
#include "daemon/control/recipes.h"
#include "daemon/control/run_index.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "proto/defaults.h"
#include "proto/digest.h"
#include "proto/recipe_steps.h"
#include "scheduler/split.h"

namespace freshet::control {
namespace {

// Whether a model trained by `previous` can give its weights to a model trained by `next`.
bool same_model(const v1::TrainStep& previous, const v1::TrainStep& next) {
  return previous.family_case() == next.family_case() &&
         message_digest(previous.tabular()) == message_digest(next.tabular()) &&
         message_digest(previous.gpt()) == message_digest(next.gpt());
}

// Starts from the champion when the recipe asks for it and the champion's model has the same shape.
Status choose_warm_start(const Snapshot& snapshot, const v1::Pipeline& pipeline, v1::Run* run, Change* change) {
  const v1::Step* train = train_step(run->recipe());
  if (train == nullptr || !train->train().warm_start()) return Status::ok();
  ASSIGN_OR_RETURN(auto champion, champion_of(snapshot, run->project(), pipeline));
  if (!champion) return Status::ok();
  ASSIGN_OR_RETURN(auto maker, get<v1::Run>(snapshot, keys::run(run->project(), champion->version.run_id())));
  if (!maker) return Status::ok();
  const v1::Step* trained = train_step(maker->value.recipe());
  if (trained == nullptr || !same_model(trained->train(), train->train())) return Status::ok();
  run->set_warm_start_version(version_name(champion->version.model(), champion->version.version()));
  run->set_warm_start_model(champion->version.artifact_digest());
  return use_artifact(snapshot, run->warm_start_model(), "run " + run->id(), change);
}

Status add_input(const Snapshot& snapshot, const v1::PipelineRecord& pipeline, const v1::InputSpec& input, Time now,
                 v1::Run* run, Change* change) {
  const std::string& project = run->project();
  ASSIGN_OR_RETURN(auto accepted, accepted_entries(snapshot, project, run->pipeline(), input.name()));
  ASSIGN_OR_RETURN(auto split, scheduler::split_entries(input, accepted));
  ASSIGN_OR_RETURN(auto source, get<v1::SourceRecord>(snapshot, keys::source(project, input.source())));
  if (!source) {
    return invalid_argument("input " + input.name() + " of pipeline " + pipeline.pipeline().metadata().name() +
                            " reads source " + input.source() + ", which is not applied");
  }
  v1::DatasetVersion dataset;
  dataset.set_project(project);
  dataset.set_source(input.source());
  dataset.set_source_uri(source->value.source().spec().directory().uri());
  for (const auto& entry : split.entries) *dataset.add_entries() = entry;
  dataset.set_rows(split.rows);
  dataset.set_digest(dataset_digest(dataset));
  dataset.set_created_us(now.us);
  const std::string key = keys::dataset(project, dataset.digest());
  ASSIGN_OR_RETURN(auto known, get<v1::DatasetVersion>(snapshot, key));
  if (!known) put(*change, key, dataset);

  auto* run_input = run->add_inputs();
  run_input->set_name(input.name());
  run_input->set_source(input.source());
  run_input->set_dataset_digest(dataset.digest());
  for (const auto& uri : split.holdout) run_input->add_holdout(uri);

  // The file that completed the trigger's condition is the newest to be seen, and of those seen at once the last to
  // arrive.
  auto seen = [](const v1::EntryRecord& entry) { return std::pair(entry.observed_us(), entry.arrived_us()); };
  const v1::EntryRecord* newest = nullptr;
  for (const auto& entry : accepted) {
    if (newest == nullptr || seen(entry) > seen(*newest)) newest = &entry;
  }
  if (newest != nullptr) {
    add_milestone(run, "arrived", Time{newest->arrived_us()});
    add_milestone(run, "observed", Time{newest->observed_us()});
    add_milestone(run, "accepted", Time{newest->decided_us()});
  }
  return Status::ok();
}

}  // namespace

Result<std::vector<v1::EntryRecord>> accepted_entries(const Snapshot& snapshot, const std::string& project,
                                                      const std::string& pipeline, const std::string& input) {
  ASSIGN_OR_RETURN(auto records, list<v1::EntryRecord>(snapshot, keys::entries(project, pipeline, input)));
  std::vector<v1::EntryRecord> accepted;
  for (auto& record : records) {
    if (record.value.state() == v1::EntryRecord::ACCEPTED) accepted.push_back(std::move(record.value));
  }
  std::sort(accepted.begin(), accepted.end(),
            [](const auto& a, const auto& b) { return a.entry().uri() < b.entry().uri(); });
  return accepted;
}

Result<v1::Run> add_run(const Snapshot& snapshot, Context& context, const v1::PipelineRecord& pipeline,
                        const RunRequest& request, Change* change) {
  const v1::Metadata& metadata = pipeline.pipeline().metadata();
  ASSIGN_OR_RETURN(auto code,
                   get<v1::PipelineCode>(snapshot, keys::pipeline_code(metadata.project(), metadata.name())));
  if (!code || code->value.recipe().steps_size() == 0) {
    return invalid_argument("pipeline " + metadata.name() + " has no recipe yet" +
                            (code && !code->value.refused_reason().empty() ? ": " + code->value.refused_reason() : "") +
                            "; `freshet sources` shows the state of its repository");
  }
  v1::Recipe recipe = code->value.recipe();
  std::string commit = code->value.commit();
  if (!request.commit.empty() && request.commit != commit) {
    commit = request.commit;
    ASSIGN_OR_RETURN(recipe, recipe_at(context, pipeline.pipeline(), commit));
  }
  if (code->value.pipeline_version() != pipeline.version()) {
    // The catalog has not come round since the pipeline was applied, which may ask the recipe for one more step.
    v1::Pipeline whole = pipeline.pipeline();
    whole.mutable_spec()->clear_recipe_from();
    *whole.mutable_spec()->mutable_recipe() = std::move(recipe);
    apply_defaults(&whole);
    recipe = std::move(*whole.mutable_spec()->mutable_recipe());
  }
  Time now = context.clock.now();
  v1::Run run;
  run.set_project(metadata.project());
  run.set_id(new_id(context.random));
  run.set_pipeline(metadata.name());
  run.set_pipeline_version(pipeline.version());
  run.set_state(v1::Run::QUEUED);
  run.set_cause(request.cause);
  run.set_trigger(request.trigger);
  run.set_idempotency_key(request.idempotency_key);
  run.set_priority(pipeline.pipeline().spec().priority());
  run.set_seed(pipeline.pipeline().spec().seed());
  run.set_created_us(now.us);
  run.set_recipe_digest(message_digest(recipe));
  *run.mutable_recipe() = std::move(recipe);
  run.mutable_code()->set_source(pipeline.pipeline().spec().recipe_from().source());
  run.mutable_code()->set_path(pipeline.pipeline().spec().recipe_from().path());
  run.mutable_code()->set_commit(commit);
  for (const auto& step : run.recipe().steps()) {
    auto* status = run.add_steps();
    status->set_name(step.name());
    status->set_state(v1::StepStatus::WAITING);
    const v1::PipelineSpec& spec = pipeline.pipeline().spec();
    status->set_slots(
        (step.has_replay() ? replay_resources(spec, run.recipe()) : resources_of(spec, step.name())).slots());
  }
  for (const auto& input : pipeline.pipeline().spec().inputs()) {
    RETURN_IF_ERROR(add_input(snapshot, pipeline, input, now, &run, change).with_context("input " + input.name()));
  }
  RETURN_IF_ERROR(choose_warm_start(snapshot, pipeline.pipeline(), &run, change));
  add_milestone(&run, "triggered", now);
  // Born with its first steps ready, so that no loop has to look at it before there is a place.
  make_ready(&run, now);
  create_run(run, change);
  return run;
}

}  // namespace freshet::control
