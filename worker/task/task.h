// The tasks a gang of freshet-worker ranks can run. Each takes what it needs in a TaskContext, writes its outputs below
// attempt.output_dir through ArtifactWriter and reports them. Called once, on the main thread of every rank. A Status
// that comes back is the user's answer: it names what to change.
#pragma once

#include <google/protobuf/message.h>

#include "base/status.h"
#include "proto/attempt.pb.h"
#include "worker/comm/communicator.h"
#include "worker/report/reporter.h"
#include "worker/task/accelerator.h"

namespace freshet::worker {

struct TaskContext {
  const v1::AttemptSpec& attempt;
  Communicator& comm;  // not started yet
  Reporter& reporter;
  unsigned threads = 1;                // at least 1
  Accelerator* accelerator = nullptr;  // null: the CPU computes everything
};

// Output "model". Any number of ranks up to the step's number of micro-batches.
Status run_train(const TaskContext& context);
// Output "report" (report.json: v1::EvaluationReport). One rank.
Status run_evaluate(const TaskContext& context);
// Output "report" (report.json: v1::InspectionReport). One rank.
Status run_inspect(const TaskContext& context);

// Output "report" (report.json: v1::ReplayReport), and "model" when the task keeps it. Ranks as in run_train.
Status run_replay(const TaskContext& context);

// As output "report", from the one rank that has it.
Status write_report(const TaskContext& context, const google::protobuf::Message& report);

// Whether the attempt's task has a use for an accelerator, which takes time to start.
bool may_use_accelerator(const v1::AttemptSpec& attempt);

// The one that the attempt asks for.
Status run_task(const TaskContext& context);

}  // namespace freshet::worker
