#include "daemon/control/work.h"

#include <charconv>

#include "base/check.h"
#include "daemon/store/keys.h"
#include "proto/defaults.h"
#include "proto/recipe_steps.h"
#include "scheduler/run_graph.h"

namespace freshet::control {

v1::WorkRef step_work(const v1::Run& run, const std::string& step) {
  v1::WorkRef work;
  work.set_project(run.project());
  work.set_run_id(run.id());
  work.set_step(step);
  return work;
}

v1::WorkRef inspection_work(const v1::Inspection& inspection) {
  v1::WorkRef work;
  work.set_project(inspection.project());
  work.set_inspection_id(inspection.id());
  return work;
}

void make_ready(v1::Run* run, Time now) {
  for (const std::string& name : scheduler::newly_ready(run->recipe(), *run)) {
    v1::StepStatus* status = find_status(run, name);
    status->set_state(v1::StepStatus::READY);
    status->set_ready_us(now.us);
  }
}

const v1::Step& find_step(const v1::Recipe& recipe, const std::string& name) {
  for (const auto& step : recipe.steps()) {
    if (step.name() == name) return step;
  }
  CHECK_MSG(false, "no step " + name);
}

v1::StepStatus* find_status(v1::Run* run, const std::string& step) {
  for (auto& status : *run->mutable_steps()) {
    if (status.name() == step) return &status;
  }
  return nullptr;
}

v1::StepResources resources_of(const v1::PipelineSpec& spec, const std::string& step) {
  v1::StepResources resources;
  for (const auto& entry : spec.resources()) {
    if (entry.step() == step) resources = entry;
  }
  resources.set_step(step);
  if (resources.ranks() == 0) resources.set_ranks(1);
  if (resources.threads_per_rank() == 0) resources.set_threads_per_rank(1);
  if (resources.slots() == 0) resources.set_slots(resources.ranks() * resources.threads_per_rank());
  if (resources.timeout_s() == 0) resources.set_timeout_s(86400);
  if (resources.max_attempts() == 0) resources.set_max_attempts(3);
  return resources;
}

v1::StepResources replay_resources(const v1::PipelineSpec& spec, const v1::Recipe& trained) {
  for (const auto& entry : spec.resources()) {
    if (entry.step() == kReplayStepName) return resources_of(spec, kReplayStepName);
  }
  const v1::Step* train = train_step(trained);
  return resources_of(spec, train == nullptr ? kReplayStepName : train->name());
}

const v1::InputSpec* find_input(const v1::PipelineSpec& spec, const std::string& input) {
  for (const auto& candidate : spec.inputs()) {
    if (candidate.name() == input || (input.empty() && spec.inputs_size() == 1)) return &candidate;
  }
  return nullptr;
}

std::string version_name(const std::string& model, uint64_t version) { return model + "/" + std::to_string(version); }

Result<VersionName> parse_version_name(const std::string& name) {
  VersionName result;
  size_t slash = name.rfind('/');
  if (slash != std::string::npos) {
    result.model = name.substr(0, slash);
    const char* end = name.data() + name.size();
    auto parsed = std::from_chars(name.data() + slash + 1, end, result.version);
    if (parsed.ec == std::errc() && parsed.ptr == end && result.version > 0 && !result.model.empty()) return result;
  }
  return invalid_argument("'" + name + "' is not a model version; write MODEL/NUMBER, for example flights/3");
}

Result<std::optional<Champion>> champion_of(const Snapshot& snapshot, const std::string& project,
                                            const v1::Pipeline& pipeline) {
  const std::string& model = pipeline.spec().model();
  ASSIGN_OR_RETURN(auto alias,
                   get<v1::Alias>(snapshot, keys::alias(project, model, pipeline.spec().promotion().alias())));
  if (!alias || alias->value.version() == 0) return std::optional<Champion>();
  ASSIGN_OR_RETURN(auto version,
                   get<v1::ModelVersion>(snapshot, keys::model_version(project, model, alias->value.version())));
  if (!version) {
    return corrupt("alias " + alias->value.alias() + " of model " + model + " points to version " +
                   std::to_string(alias->value.version()) + ", which is not in the store");
  }
  return std::optional<Champion>(Champion{*alias, version->value});
}

Result<std::vector<Record<v1::Inspection>>> pending_inspections(const Snapshot& snapshot) {
  return list_referenced<v1::Inspection>(snapshot, keys::pending_inspections());
}

Result<std::vector<Record<v1::Attempt>>> active_attempts(const Snapshot& snapshot) {
  return list_referenced<v1::Attempt>(snapshot, keys::active_attempts());
}

Result<v1::PipelineRecord> pipeline_of(const Snapshot& snapshot, const v1::Run& run) {
  const std::string key = keys::pipeline_version(run.project(), run.pipeline(), run.pipeline_version());
  ASSIGN_OR_RETURN(auto record, require<v1::PipelineRecord>(snapshot, key, "pipeline " + run.pipeline()));
  return std::move(record.value);
}

void add_milestone(v1::Run* run, const std::string& name, Time time) {
  for (const auto& milestone : run->timeline()) {
    if (milestone.name() == name) return;
  }
  auto* milestone = run->add_timeline();
  milestone->set_name(name);
  milestone->set_time_us(time.us);
}

}  // namespace freshet::control
