// What an attempt's ranks are told: the AttemptSpec of a step or an inspection, made once, when the attempt is placed,
// and stored beside it, so that every repeat of a launch sends the same bytes. Reads the store, writes nothing.
#pragma once

#include "base/status.h"
#include "daemon/store/store.h"
#include "proto/attempt.pb.h"
#include "proto/dataset.pb.h"
#include "proto/run.pb.h"

namespace freshet::control {

struct BuiltTask {
  v1::AttemptSpec spec;
  std::string champion_version;  // whom an evaluation or an inspection compares with; empty: none
};

Result<BuiltTask> build_step_task(const Snapshot& snapshot, const v1::Run& run, const std::string& step);
Result<BuiltTask> build_inspection_task(const Snapshot& snapshot, const v1::Inspection& inspection);

// The training that the run's train step asks for.
Result<v1::TrainTask> build_train_task(const Snapshot& snapshot, const v1::Run& run, const v1::Step& train);

// The model that the steps needed by `step` made.
Result<v1::Output> model_of_needs(const v1::Run& run, const v1::Step& step);

// The entries of a dataset that a version's training saw: all but its holdout.
Result<std::vector<v1::DatasetEntry>> trained_entries(const Snapshot& snapshot, const std::string& project,
                                                      const v1::RunInput& input);

}  // namespace freshet::control
