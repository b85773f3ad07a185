// Judging a candidate and moving an alias. Everything a promotion changes is one commit with preconditions on the
// alias and on the run, so it happens once or not at all; effects follow from the record. Shared by the run loop
// (automatic promotion) and by the model service (a person's promote and rollback).
#pragma once

#include <string>

#include "daemon/control/context.h"
#include "daemon/store/tables.h"
#include "proto/evaluation.pb.h"
#include "proto/model.pb.h"
#include "proto/record.pb.h"
#include "proto/run.pb.h"

namespace freshet::control {

// Applies the gates to the evaluation that the step needs, registers the candidate as the model's next version with
// its verdict, and moves the alias when the verdict passed and the policy is automatic. Fills `step` and `run`; the
// writes go to `change`. When the alias moved since the evaluation, the evaluation is made ready again instead.
Status judge_and_promote(const Snapshot& snapshot, Context& context, const v1::PipelineRecord& pipeline, v1::Run* run,
                         v1::StepStatus* step, Time now, Change* change);

// Moves the alias, records the move and tells of it. `current` is the alias as read (nullopt: it does not exist yet),
// `pipeline` the one that made the version.
void move_alias(const Snapshot& snapshot, Context& context, const std::optional<Record<v1::Alias>>& current,
                v1::Alias next, const std::string& pipeline, Change* change);

// Reads `report.json` of the output of type "report".
Status read_report(const ArtifactStore& artifacts, const google::protobuf::RepeatedPtrField<v1::Output>& outputs,
                   google::protobuf::Message* report);

}  // namespace freshet::control
