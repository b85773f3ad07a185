// Work: what attempts are made for, a step of a run or an inspection. The small functions that the reconcilers share
// about it: its name, its record, and what may be asked of a pipeline for it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "daemon/store/store.h"
#include "daemon/store/tables.h"
#include "proto/attempt.pb.h"
#include "proto/dataset.pb.h"
#include "proto/model.pb.h"
#include "proto/pipeline.pb.h"
#include "proto/record.pb.h"
#include "proto/run.pb.h"

namespace freshet::control {

v1::WorkRef step_work(const v1::Run& run, const std::string& step);
v1::WorkRef inspection_work(const v1::Inspection& inspection);

// Marks the steps as READY whose needs have all succeeded.
void make_ready(v1::Run* run, Time now);

// The step of that name; CHECKs that it exists.
const v1::Step& find_step(const v1::Recipe& recipe, const std::string& name);
v1::StepStatus* find_status(v1::Run* run, const std::string& step);

// What the pipeline grants the step, with the defaults filled in.
v1::StepResources resources_of(const v1::PipelineSpec& spec, const std::string& step);
// What it grants a replay of what `trained` trained: the entry of the step "replay", else that of the train step.
v1::StepResources replay_resources(const v1::PipelineSpec& spec, const v1::Recipe& trained);
const v1::InputSpec* find_input(const v1::PipelineSpec& spec, const std::string& input);

// "flights/3" and back.
std::string version_name(const std::string& model, uint64_t version);
struct VersionName {
  std::string model;
  uint64_t version = 0;
};
Result<VersionName> parse_version_name(const std::string& name);

// The version an alias points to; nullopt when the alias does not exist.
struct Champion {
  Record<v1::Alias> alias;
  v1::ModelVersion version;
};
Result<std::optional<Champion>> champion_of(const Snapshot& snapshot, const std::string& project,
                                            const v1::Pipeline& pipeline);

// The pending inspections of all projects: at most one of each input.
Result<std::vector<Record<v1::Inspection>>> pending_inspections(const Snapshot& snapshot);
// The attempts that are placed, prepared or running.
Result<std::vector<Record<v1::Attempt>>> active_attempts(const Snapshot& snapshot);

// The pipeline a run was made for, in the version it was made for.
Result<v1::PipelineRecord> pipeline_of(const Snapshot& snapshot, const v1::Run& run);

// Appends the milestone unless the run already has one of that name.
void add_milestone(v1::Run* run, const std::string& name, Time time);

}  // namespace freshet::control
